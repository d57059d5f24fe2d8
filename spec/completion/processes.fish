# Names, and where a digit stands first pids. Only of what may be patched: neither kernel threads nor what this
# user must not touch. Names are up to whoever runs a program: nothing that a shell or a terminal could act on.
function _@function@_processes
    set -l names
    set -l files
    set -l digit (string match -r '^[0-9]' -- (_@function@_typed))
    for directory in (string match -r '^/proc/[0-9]+$' -- /proc/*)
        test -e $directory/exe; and set -a files $directory/comm
    end
    for line in (command grep -aHs '' -- $files) # not fish's own reading: it warns of processes that are gone
        set -l pid (string split / -- $line)[3]
        set -l name (string replace -r '^[^:]*:' '' -- $line)
        if test (string length -- $name) = 15 # cut off there
            command cat /proc/$pid/cmdline 2>/dev/null | read -lz long
            set long (string split -m1 -r / -- "$long")[-1]
            string match -q -- "$name*" $long; and set name $long
        end
        string match -qr '^[[:alnum:]][[:alnum:]._+-]*$' -- $name; or set name ''
        contains -- $name $names; or set -a names $name
        test -n "$digit"; and printf '%s\t%s\n' $pid $name
    end
    printf '%s\tname of a process\n' (string match -v '' -- $names)
end
