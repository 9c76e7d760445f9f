# Completion of tare for fish. Commands and flags are asked of the program itself (`--help`), so is what there is of
# containers: nothing here has to follow the program.

# What stands on the line before the cursor: the command, then its arguments, without flags.
function __tare_words
    set -l words (commandline -opc)
    set -l known (__tare_flags $words[1])
    set -l skip
    for word in $words[2..-1]
        if set -q skip[1]
            set -e skip
        else if string match -qr -- '^-' $word
            string match -qr -- "^$word\t.*<" $known; and set skip yes
        else
            echo $word
            set -q verb; or set -l verb $word; and set known (__tare_flags $words[1] $word)
        end
    end
end

# Each flag of a command, short and long, with its help: `--flag<TAB>help`. With no command: those before one.
function __tare_flags
    $argv --help 2>/dev/null | string replace -rf '^ +(-., )?(--[a-z0-9-]+)( <.+>)?  +(.*)' '$2\t$4$3
$1\t$4$3' | string replace -r ', \t' '\t' | string match -r '^-.*'
end

function __tare_current_flags
    set -l words (__tare_words)
    set -l program (commandline -opc)[1]
    __tare_flags $program $words[1]
end

function __tare_commands
    set -l program (commandline -opc)[1]
    $program --help | string replace -rf '^  ([a-z]+)  +(.*)' '$1\t$2'
end

# Containers of a status, or all.
function __tare_containers
    set -l words (commandline -opc)
    set -l root (string match -rg -- '--root[= ](\S+)' "$words")
    $words[1] (set -q root[1]; and printf '%s\n' --root $root[1]) list 2>/dev/null |
        awk -v wanted="$argv" 'NR > 1 && (wanted == "" || $3 == wanted) { print $1 "\t" $3 }'
end

# Whether the command is one of these, and its N-th argument comes next.
function __tare_at
    set -l words (__tare_words)
    test (count $words) -eq $argv[1]; and contains -- "$words[1]" $argv[2..-1]
end

complete -c tare -f -n 'string match -q -- "-*" (commandline -ct)' -a '(__tare_current_flags)'
complete -c tare -f -n 'test (count (__tare_words)) -eq 0' -a '(__tare_commands)'
complete -c tare -f -n '__tare_at 1 start' -a '(__tare_containers created)'
complete -c tare -f -n '__tare_at 1 resume' -a '(__tare_containers paused)'
complete -c tare -f -n '__tare_at 1 exec pause checkpoint' -a '(__tare_containers running)'
complete -c tare -f -n '__tare_at 1 kill delete state ps update events' -a '(__tare_containers)'
complete -c tare -f -n '__tare_at 2 kill' -a '(string replace SIG "" -- (kill -l | string split " "))'
