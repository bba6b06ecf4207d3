#compdef lockstep safekit
# Completion of lockstep and safekit for zsh. The program itself knows its words.
_lockstep() {
    local value text files=0
    local -a found
    while IFS=$'\t' read -r value text; do
        case $value in
            :files) files=1 ;;
            *) found+=("${value//:/\\:}${text:+:$text}") ;;
        esac
    done < <("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#found )) && _describe -t words 'lockstep' found
    (( files )) && _files
    return 0
}
if [[ ${funcstack[1]} == _lockstep ]]; then _lockstep "$@"; else compdef _lockstep lockstep safekit; fi
