# Names, and where a digit stands first pids. Only of what may be patched: neither kernel threads nor what this
# user must not touch. Names are up to whoever runs a program: nothing that a shell or a terminal could act on.
@function@_processes() {
    local directory name long
    local -A names=()
    for directory in /proc/[0-9]*; do
        [[ -e $directory/exe ]] || continue
        [[ $1 == [0-9]* ]] && names[${directory##*/}]=1
        { IFS= read -r name <"$directory/comm"; } 2>/dev/null || continue
        if ((${#name} == 15)); then # cut off there
            { IFS= read -r -d '' long <"$directory/cmdline"; } 2>/dev/null && long=${long##*/}
            [[ $long == "$name"* ]] && name=$long
        fi
        [[ $name == [[:alnum:]]* && $name != *[^[:alnum:]._+-]* ]] && names[$name]=1
    done
    for name in "${!names[@]}"; do
        [[ $name == "$1"* ]] && COMPREPLY+=("$name")
    done
}
