_evtchn() {
    local words=() word line=$COMP_LINE place index=0
    # Bash splits words also at : and =. Pieces without a space between them are one word here.
    for ((place = 0; place <= COMP_CWORD; place++)); do
        word=${COMP_WORDS[place]}
        if ((place > 0)) && [[ -n $word && $line == "$word"* ]]; then
            words[index]+=$word
        else
            index=${#words[@]}
            words[index]=$word
        fi
        line=${line#"${line%%[![:space:]]*}"}
        line=${line#"$word"}
    done
    # What is behind the cursor does not count, and bash replaces only the last piece.
    word=${words[index]}
    [[ ${COMP_WORDS[COMP_CWORD]} == [:=] ]] || word=${word%"${COMP_WORDS[COMP_CWORD]}"}$2
    words[index]=$word
    local before=${word%"$2"} IFS=$'\n'
    COMPREPLY=($(_CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$index EVTCHN_COMPLETE=bash evtchn -- "${words[@]}" 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
    # An option with its =, a folder and a domain without its port go on.
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/:] ]]; then
        compopt -o nospace
    fi
}
complete -o bashdefault -o nosort -F _evtchn evtchn
