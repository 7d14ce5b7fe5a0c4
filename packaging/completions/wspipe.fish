# fish completion for wspipe
# Generated from src/cli/options by `WSPIPE_BLESS=1 cargo test --lib cli`: do not edit.

set -g __wspipe_with_value --address --port --backlog --origin --allow-host --subprotocol --same-user --trust-proxy --trust-header --route --dir --framing --crlf --max-line --flush --stderr --passenv --setenv --cwd --umask --nice --rlimit --signal --kill-after --end-at --replay --resume --replay-buffer --max-clients --max-clients-per-ip --max-processes --spawn-rate --max-memory --max-message --high-water --max-head --max-headers --session-timeout --idle-timeout --ping-interval --pong-timeout --write-timeout --close-timeout --head-timeout --http-idle-timeout --user --group --drain-timeout --log-level

# Whether the words before the cursor are options and their values only.
function __wspipe_before_command
    set -l is_value 0
    for word in (commandline -opc)[2..-1]
        if test $is_value = 1
            set is_value 0
        else if contains -- $word $__wspipe_with_value
            set is_value 1
        else if test "$word" = --; or not string match -q -- '-*' $word
            return 1
        end
    end
end

# COMMAND and its own arguments. The first dash keeps the function from reading the names as its
# own options.
complete -c wspipe -f -a '(__fish_complete_subcommand - $__wspipe_with_value)'
complete -c wspipe -n __wspipe_before_command -l address -x -a '127.0.0.1 0.0.0.0 localhost' -d 'IP address to listen on; repeatable'
complete -c wspipe -n __wspipe_before_command -l port -x -d 'TCP port; 0: a free one'
complete -c wspipe -n __wspipe_before_command -l backlog -x -d 'connections that wait to be accepted'
complete -c wspipe -n __wspipe_before_command -l origin -x -a 'any' -d 'other sites whose pages may connect'
complete -c wspipe -n __wspipe_before_command -l allow-host -x -d 'other names of this server'
complete -c wspipe -n __wspipe_before_command -l subprotocol -x -d 'WebSocket sub-protocols to agree to'
complete -c wspipe -n __wspipe_before_command -l same-user -x -a 'yes no' -d 'demo: the shell is for your user only'
complete -c wspipe -n __wspipe_before_command -l trust-proxy -x -d 'proxies that may name their clients'
complete -c wspipe -n __wspipe_before_command -l trust-header -x -a 'forwarded' -d 'header of proxies to believe'
complete -c wspipe -n __wspipe_before_command -l route -x -d 'serve COMMAND at /PATH and below; repeatable'
complete -c wspipe -n __wspipe_before_command -l dir -x -a '(__fish_complete_directories (commandline -ct))' -d 'serve each program in DIR at its path'
complete -c wspipe -n __wspipe_before_command -l echo -f -d 'send every message back; no command'
complete -c wspipe -n __wspipe_before_command -l framing -x -a 'lines raw null length headers' -d 'how a pipe holds messages'
complete -c wspipe -n __wspipe_before_command -l binary -f -d 'bytes instead of lines (--framing=raw)'
complete -c wspipe -n __wspipe_before_command -l null -f -d 'lines that end with NUL (--framing=null)'
complete -c wspipe -n __wspipe_before_command -l crlf -x -a 'strip keep' -d 'whether a line loses the \\r before its \\n'
complete -c wspipe -n __wspipe_before_command -l max-line -x -a 'none' -d 'longest line that a command may print'
complete -c wspipe -n __wspipe_before_command -l flush -x -a 'off' -d 'send an unfinished line after this time'
complete -c wspipe -n __wspipe_before_command -l stderr -x -a 'merge log drop json' -d 'where the command\'s stderr goes'
complete -c wspipe -n __wspipe_before_command -l passenv -x -a '(set -nx)' -d 'variables it inherits'
complete -c wspipe -n __wspipe_before_command -l setenv -x -d 'set a variable of the command; repeatable'
complete -c wspipe -n __wspipe_before_command -l cwd -x -a '(__fish_complete_directories (commandline -ct))' -d 'directory that the command starts in'
complete -c wspipe -n __wspipe_before_command -l umask -x -d 'permission bits that its new files lack'
complete -c wspipe -n __wspipe_before_command -l nice -x -d 'CPU priority of the command: 19 to -20 (most)'
complete -c wspipe -n __wspipe_before_command -l rlimit -x -a 'as: core: cpu: data: fsize: nofile: nproc: stack:' -d 'limit a resource (nofile:64); repeatable'
complete -c wspipe -n __wspipe_before_command -l no-new-privs -f -d 'sudo and set-user-ID programs fail'
complete -c wspipe -n __wspipe_before_command -l signal -x -a 'HUP INT QUIT ABRT USR1 USR2 ALRM TERM WINCH KILL' -d 'first signal when the client has left'
complete -c wspipe -n __wspipe_before_command -l kill-after -x -a 'never' -d 'SIGKILL this long after the client has left'
complete -c wspipe -n __wspipe_before_command -l end-at -x -a 'exit eof' -d 'when the connection of an exited command ends'
complete -c wspipe -n __wspipe_before_command -l shared -f -a 'eager' -d 'one command for all clients'
complete -c wspipe -n __wspipe_before_command -l replay -x -d 'last messages that a new client gets'
complete -c wspipe -n __wspipe_before_command -l restart -f -d 'start the shared command again when it ends'
complete -c wspipe -n __wspipe_before_command -l resume -x -a 'none' -d 'how long a command waits for a lost client'
complete -c wspipe -n __wspipe_before_command -l replay-buffer -x -d 'output kept for later clients'
complete -c wspipe -n __wspipe_before_command -l max-clients -x -a 'none' -d 'WebSocket clients; others get 503'
complete -c wspipe -n __wspipe_before_command -l max-clients-per-ip -x -a 'none' -d 'clients from one address; others get 429'
complete -c wspipe -n __wspipe_before_command -l max-processes -x -d 'commands; further clients get 503'
complete -c wspipe -n __wspipe_before_command -l spawn-rate -x -a 'none' -d 'commands started per second'
complete -c wspipe -n __wspipe_before_command -l max-memory -x -d 'memory for buffers; beyond it 503'
complete -c wspipe -n __wspipe_before_command -l max-message -x -d 'longest message from a client'
complete -c wspipe -n __wspipe_before_command -l high-water -x -d 'queued bytes at which reading pauses'
complete -c wspipe -n __wspipe_before_command -l max-head -x -d 'longest request head'
complete -c wspipe -n __wspipe_before_command -l max-headers -x -d 'header fields of a request'
complete -c wspipe -n __wspipe_before_command -l session-timeout -x -a 'none' -d 'how long a client may stay'
complete -c wspipe -n __wspipe_before_command -l idle-timeout -x -a 'none' -d 'how long a client may stay without messages'
complete -c wspipe -n __wspipe_before_command -l ping-interval -x -d 'silence before a ping, and between pings'
complete -c wspipe -n __wspipe_before_command -l pong-timeout -x -d 'silence before a client is dropped'
complete -c wspipe -n __wspipe_before_command -l write-timeout -x -d 'drop a client that acknowledges nothing'
complete -c wspipe -n __wspipe_before_command -l close-timeout -x -d 'time for the closing handshake'
complete -c wspipe -n __wspipe_before_command -l head-timeout -x -d 'time for a request head'
complete -c wspipe -n __wspipe_before_command -l http-idle-timeout -x -d 'how long to wait for the next request'
complete -c wspipe -n __wspipe_before_command -l user -x -a '(__fish_complete_users)' -d 'become this user once the port is bound'
complete -c wspipe -n __wspipe_before_command -l group -x -a '(__fish_complete_groups)' -d 'become this group, not the user\'s own'
complete -c wspipe -n __wspipe_before_command -l once -f -d 'exit after the first client'
complete -c wspipe -n __wspipe_before_command -l exit-when-idle -f -d 'exit when the last client has left'
complete -c wspipe -n __wspipe_before_command -l drain-timeout -x -d 'time to shut down after SIGTERM'
complete -c wspipe -n __wspipe_before_command -l log-level -x -a 'error warn info debug' -d 'least important lines to log'
complete -c wspipe -n __wspipe_before_command -l help -f -a 'all' -d 'print the common options, or all'
complete -c wspipe -n __wspipe_before_command -l version -f -d 'print the version'
