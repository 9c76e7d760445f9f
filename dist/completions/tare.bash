# Completion of tare for bash. Commands, flags and the words of a flag are asked of the program itself (`--help`), so is
# what there is of containers: nothing here has to follow the program.

# _tare_help PROGRAM [COMMAND]: one line a flag: its names, its value's name or -, its help.
_tare_help() {
    "$@" --help 2>/dev/null | sed -nE '
        s/^ +(-(.), )?(--[a-z0-9-]+) <(.+)>  +(.*)/\3 -\2\t\4\t\5/p; t
        s/^ +(-(.), )?(--[a-z0-9-]+)  +(.*)/\3 -\2\t-\t\4/p' | sed 's/ -\t/\t/'
}

_tare() {
    local program=$1 cur=${COMP_WORDS[COMP_CWORD]} verb='' known word names value help i position=0 root=() flag=''
    COMPREPLY=()
    known=$(_tare_help "$program")
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
            -*)
                # Does it want a value, which is then the next word (or, by bash's way to split words, `=` and the next two)?
                while IFS=$'\t' read -r names value help; do
                    [[ " $names " == *" $word "* && $value != - ]] || continue
                    [[ ${COMP_WORDS[i + 1]} == '=' ]] && ((i++))
                    ((i++))
                    [[ $word == --root ]] && root=(--root "${COMP_WORDS[i]}")
                    if ((i >= COMP_CWORD)); then
                        flag=$word
                        [[ $cur == '=' ]] && cur=''
                    fi
                    break
                done <<<"$known"
                ;;
            *)
                if [[ -z $verb ]]; then
                    verb=$word
                    known=$(_tare_help "$program" "$verb")
                else
                    ((position++))
                fi
                ;;
        esac
    done
    if [[ -n $flag ]]; then
        while IFS=$'\t' read -r names value help; do
            [[ " $names " == *" $flag "* ]] || continue
            case $value in
                DIR) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
                FILE | PATH) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
                # "…: one, two or three"
                *) mapfile -t COMPREPLY < <(compgen -W "$(sed -nE 's/.*: (([a-z]+, )*[a-z]+ or [a-z]+).*/\1/; T; s/, | or / /g; p' <<<"$help")" -- "$cur") ;;
            esac
        done <<<"$known"
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(cut -f1 <<<"$known")" -- "$cur")
    elif [[ -z $verb ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$("$program" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')" -- "$cur")
    elif ((position == 0)); then
        local status=''
        case $verb in
            create | run | restore | spec | features | list) return ;;
            start) status=created ;;
            resume) status=paused ;;
            exec | pause | checkpoint) status=running ;;
        esac
        mapfile -t COMPREPLY < <(compgen -W "$("$program" "${root[@]}" list 2>/dev/null |
            awk -v status="$status" 'NR > 1 && (status == "" || $3 == status) { print $1 }')" -- "$cur")
    elif [[ $verb == kill && $position == 1 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(kill -l | grep -oE 'SIG[A-Z0-9]+' | sed 's/^SIG//')" -- "$cur")
    fi
}
complete -o filenames -F _tare tare
