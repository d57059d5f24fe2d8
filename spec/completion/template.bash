# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of @program@ for bash, made by "python3 -m spec.generate" from what its commands understand.

@function@() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} IFS=$' \t\n'
    local command='' option='' before='' words='' kind='' each
    local -a earlier=("${COMP_WORDS[@]:1:COMP_CWORD-1}")
    local -A options=() # each with what its value is, if it takes one
    COMPREPLY=()
    for each in "${earlier[@]}"; do
        case $each in
            @names@) command=$each && break ;;
        esac
    done
    case $command in
@cases@
    esac

    # readline cuts --option=value into three words, unless COMP_WORDBREAKS has lost the "="
    if [[ $word == --*=* ]]; then
        option=${word%%=*} before=${word%%=*}= word=${word#*=}
    elif [[ $word == '=' ]]; then
        option=$previous word=''
    elif [[ $previous == '=' ]]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $previous == --* && ${options[$previous]-} ]]; then
        option=$previous
    elif [[ $previous == -[!-]* && ${options[-${previous: -1}]-} ]]; then
        option=-${previous: -1}
    fi
    if [[ $previous == *[\<\>]* ]]; then
        kind='files *'
    elif [[ $option ]]; then
        kind=${options[$option]-}
    elif [[ $word == -* && " ${earlier[*]} " != *' -- '* ]]; then
        @function@_options "$word"
    else
        kind=$words
    fi
    @function@_values "$word"
    COMPREPLY=("${COMPREPLY[@]/#/$before}")
}

@function@_options() {
    local name
    for name in "${!options[@]}"; do
        [[ $name == "$1"* ]] || continue
        [[ $name == --* && ${options[$name]} ]] && name+='='
        COMPREPLY+=("$name")
    done
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
}

@function@_values() {
    local -a parts found=()
    read -ra parts <<<"$kind"
    case ${parts[0]-} in
        words) mapfile -t found < <(compgen -W "${parts[*]:1}" -- "$1") ;;
        users) mapfile -t found < <(compgen -u -- "$1") ;;
        processes) @function@_processes "$1" ;;
        files)
            compopt -o filenames 2>/dev/null
            mapfile -t found < <(
                compgen -d -- "$1"
                [[ ${parts[1]} == '*/' ]] || compgen -f -X "!${parts[1]}" -- "$1"
                compgen -W "${parts[*]:2}" -- "$1"
            )
            ;;
    esac
    COMPREPLY+=("${found[@]}")
}

complete -F @function@ @program@
