# bash completion for wspipe
# Generated from src/cli/options by `WSPIPE_BLESS=1 cargo test --lib cli`: do not edit.

_wspipe() {
    local line=$COMP_LINE word words=() starts=() i

    # Bash divides words at = and : too: join the parts that no blank separates.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i > 0)) && [[ $line != [[:blank:]]* ]]; then
            words[-1]+=$word
        else
            words+=("$word")
            starts+=("$i")
        fi
        line=${line#"${line%%[![:blank:]]*}"}
        line=${line#"$word"}
    done

    # Read the words before the cursor: where COMMAND begins, and which option needs a value.
    local last=$((${#words[@]} - 1)) option='' command=''
    for ((i = 1; i < last; i++)); do
        word=${words[i]}
        if [[ -n $option ]]; then
            option=''
            continue
        fi
        case $word in
            --) command=$((i + 1)) ; break ;;
            --address | --port | --backlog | --origin | --allow-host | --subprotocol | --same-user | --trust-proxy | --trust-header | --route | --dir | --framing | --crlf | --max-line | --flush | --stderr | --passenv | --setenv | --cwd | --umask | --nice | --rlimit | --signal | --kill-after | --end-at | --replay | --resume | --replay-buffer | --max-clients | --max-clients-per-ip | --max-processes | --spawn-rate | --max-memory | --max-message | --high-water | --max-head | --max-headers | --session-timeout | --idle-timeout | --ping-interval | --pong-timeout | --write-timeout | --close-timeout | --head-timeout | --http-idle-timeout | --user | --group | --drain-timeout | --log-level) option=$word ;;
            -*) ;;
            *) command=$i ; break ;;
        esac
    done

    local current=${words[last]} prefix='' offer=()
    COMPREPLY=()
    if [[ -z $command && -z $option && $current == --*=* ]]; then
        option=${current%%=*}
        current=${current#*=}
        [[ $COMP_WORDBREAKS == *=* ]] || prefix=$option=
    elif [[ -z $command && -z $option && $current != -* ]]; then
        command=$last
    fi

    if [[ -n $command ]]; then
        if ((last == command)); then
            mapfile -t COMPREPLY < <(compgen -c -- "$current")
        elif declare -F _comp_command_offset >/dev/null; then
            _comp_command_offset "${starts[command]}"
        elif declare -F _command_offset >/dev/null; then
            _command_offset "${starts[command]}"
        fi
        return
    fi

    case $option in
        '') offer=(-W '--address= --port= --backlog= --origin= --allow-host= --subprotocol= --same-user= --trust-proxy= --trust-header= --route= --dir= --echo --framing= --binary --null --crlf= --max-line= --flush= --stderr= --passenv= --setenv= --cwd= --umask= --nice= --rlimit= --no-new-privs --signal= --kill-after= --end-at= --shared --shared=eager --replay= --restart --resume= --replay-buffer= --max-clients= --max-clients-per-ip= --max-processes= --spawn-rate= --max-memory= --max-message= --high-water= --max-head= --max-headers= --session-timeout= --idle-timeout= --ping-interval= --pong-timeout= --write-timeout= --close-timeout= --head-timeout= --http-idle-timeout= --user= --group= --once --exit-when-idle --drain-timeout= --log-level= --help --help=all --version') ;;
        --address) offer=(-W '127.0.0.1 0.0.0.0 localhost') ;;
        --origin) offer=(-W 'any') ;;
        --same-user) offer=(-W 'yes no') ;;
        --trust-header) offer=(-W 'forwarded') ;;
        --dir) offer=(-d) ;;
        --framing) offer=(-W 'lines raw null length headers') ;;
        --crlf) offer=(-W 'strip keep') ;;
        --max-line) offer=(-W 'none') ;;
        --flush) offer=(-W 'off') ;;
        --stderr) offer=(-W 'merge log drop json') ;;
        --passenv) offer=(-e) ;;
        --cwd) offer=(-d) ;;
        --rlimit) offer=(-W 'as: core: cpu: data: fsize: nofile: nproc: stack:') ;;
        --signal) offer=(-W 'HUP INT QUIT ABRT USR1 USR2 ALRM TERM WINCH KILL') ;;
        --kill-after) offer=(-W 'never') ;;
        --end-at) offer=(-W 'exit eof') ;;
        --shared) offer=(-W 'eager') ;;
        --resume) offer=(-W 'none') ;;
        --max-clients) offer=(-W 'none') ;;
        --max-clients-per-ip) offer=(-W 'none') ;;
        --spawn-rate) offer=(-W 'none') ;;
        --session-timeout) offer=(-W 'none') ;;
        --idle-timeout) offer=(-W 'none') ;;
        --user) offer=(-u) ;;
        --group) offer=(-g) ;;
        --log-level) offer=(-W 'error warn info debug') ;;
        --help) offer=(-W 'all') ;;
        *) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -P "$prefix" "${offer[@]}" -- "$current")
    if [[ ${offer[0]} == -d ]]; then
        compopt -o filenames 2>/dev/null
    elif [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -o bashdefault -o default -F _wspipe wspipe
