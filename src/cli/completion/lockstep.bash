# Completion of lockstep and safekit for bash. The program itself knows its words.
_lockstep() {
    local value name=$1 files='' current=$2 before=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    while IFS=$'\t' read -r value _; do
        [[ $before == '=' || $current == '=' ]] && value=${value#*=} # bash takes = for a word
        case $value in
            :files) files=1 ;;
            '*') COMPREPLY+=("'*'") ;;
            *) COMPREPLY+=("$value") ;;
        esac
    done < <("$name" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [[ $files ]]; then
        compopt -o filenames
        while IFS='' read -r value; do COMPREPLY+=("$value"); done < <(compgen -f -- "$current")
    elif [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
}
complete -F _lockstep lockstep safekit
