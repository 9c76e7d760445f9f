# shellcheck shell=bash
# What the steps of several files need to see whether an image gets at a program of the host's (escape).

# A program of the host's that runs wherever it is executed from, and long enough to be found.
program_of_the_host() {
    echo 'int puts(const char *); unsigned sleep(unsigned); int main(void) { puts("a program of the host runs"); return sleep(1); }' |
        gcc -static -o program-of-the-host -x c -
    cp program-of-the-host as-it-was
}
# In it `sh` is looked for in /evil first.
escape_image() {
    mkdir -p escape
    cp "$here/escape" escape/
    printf '%s\n' "FROM $1" 'COPY escape /escape' 'ENV PATH=/evil:/bin' 'HEALTHCHECK --interval=100ms --retries=1000 CMD ["sh", "-c", "echo x >>/evil/tried"]' \
        "ENTRYPOINT [\"/escape\", \"$work/program-of-the-host\"]" >escape/Dockerfile
}
# escaped [COMMAND…]: watches the program for ten seconds, while the COMMAND is done again and again, and tells.
escaped() {
    local end=$((SECONDS + 10))
    while cmp -s program-of-the-host as-it-was && [ $SECONDS -lt $end ]; do
        "$@" 2>&1 | grep -om 1 'a program of the host runs'
        sleep 0.1
    done
    cmp program-of-the-host as-it-was 2>&1 && echo 'the program of the host is as it was'
}
export -f escaped
