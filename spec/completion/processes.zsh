# Names, and where a digit stands first pids. Only of what may be patched: neither kernel threads nor what this
# user must not touch. Names are up to whoever runs a program: nothing that a shell or a terminal could act on.
@function@_processes() {
  local directory name long
  local -a pids
  local -aU names
  for directory in /proc/<->(N); do
    [[ -e $directory/exe ]] || continue
    { IFS= read -r name <$directory/comm } 2>/dev/null || continue
    if (( $#name == 15 )); then # cut off there
      long=
      { IFS= read -r -d $'\0' long <$directory/cmdline } 2>/dev/null
      [[ ${long:t} == $name* ]] && name=${long:t}
    fi
    if [[ $name == [[:alnum:]]* && $name != *[^[:alnum:]._+-]* ]]; then
      names+=($name)
    else
      name=
    fi
    pids+=("$directory:t:$name")
  done
  [[ $PREFIX == [0-9]* ]] && _describe -t processes 'process' pids
  _describe -t processes-names 'name of processes' names
}
