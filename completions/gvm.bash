# Completion of gvm for bash. Source it, or install it as
# /usr/share/bash-completion/completions/gvm
# shellcheck shell=bash

_gvm_verbs="run watch suggest check explain test replay trust reload approve diff review commit discard undo runs logs attach events stats audit status stop preflight selftest version help"

_gvm_options() {
    case $1 in
    run) echo "--agent-id --config --continue --cpus --default --detach --device --disk --env --grace --help --hide --interactive --json --memory --mount --no-intercept --persist --pids --publish --reveal --sandbox --seccomp --timeout --watch --without --workspace" ;;
    watch) echo "--agent-id --config --continue --cpus --default --detach --device --disk --env --grace --help --hide --interactive --json --memory --mount --no-intercept --persist --pids --publish --reveal --sandbox --seccomp --timeout --watch --without --workspace" ;;
    suggest) echo "--apply --config --help --json --run --writes" ;;
    check) echo "--help --json --strict" ;;
    explain) echo "--agent --body --config --header --help --json --protocol" ;;
    test) echo "--config --help --json --quiet" ;;
    replay) echo "--help --json --rules --run --since" ;;
    trust) echo "--help --list --remove" ;;
    reload) echo "--help --json" ;;
    approve) echo "--allow --deny --for --help --id --json --list --reason" ;;
    diff) echo "--help --json --stat" ;;
    review) echo "--accept --all --as-branch --as-patch --discard --drop-rest --help --json" ;;
    commit) echo "--all --force --help --json --yes" ;;
    discard) echo "--all --help --yes" ;;
    undo) echo "--dry-run --force --help --json --last" ;;
    runs) echo "--help --json" ;;
    logs) echo "--dir --follow --help --json" ;;
    events) echo "--agent --decision --dir --follow --help --host --index --json --kind --last --run --since --until" ;;
    stats) echo "--agent --decision --dir --help --host --json --run --since --until" ;;
    audit) echo "--bundle --ca --chain --dir --entry --format --help --json --key --listen --origin --out --redact --resume --run --since --tiles --timestamp --url --where --witness" ;;
    status) echo "--help --json" ;;
    stop) echo "--force --help" ;;
    preflight) echo "--help" ;;
    attach) echo "--help" ;;
    selftest) echo "--all --help --json" ;;
    version) echo "--help --json" ;;
    help) echo "" ;;
    esac
}

# The ids of runs, newest first.
_gvm_runs() {
    local top=${GVM_STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/gvm}/runs
    [ -d "$top" ] && command ls -1r "$top" 2>/dev/null
}

_gvm_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

# Position of "--", or of the first word after the options of run and watch that take none.
_gvm_command_start() {
    local i
    for ((i = 2; i < COMP_CWORD; i++)); do
        if [ "${COMP_WORDS[i]}" = -- ]; then
            echo $((i + 1))
            return
        fi
    done
}

_gvm() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]}
    local start
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        _gvm_words "$_gvm_verbs --help --version" "$word"
        return
    fi
    if [ "$verb" = run ] || [ "$verb" = watch ]; then
        start=$(_gvm_command_start)
        if [ -n "$start" ] && declare -F _command_offset >/dev/null; then
            _command_offset "$start"
            return
        fi
    fi
    case $before in
    --run | --continue) _gvm_words "$(_gvm_runs)" "$word"; return ;;
    --default) _gvm_words "deny approve delay" "$word"; return ;;
    --writes) _gvm_words "allow delay approve" "$word"; return ;;
    --decision) _gvm_words "Allow AuditOnly Delay RequireApproval Deny" "$word"; return ;;
    --protocol) _gvm_words "tcp" "$word"; return ;;
    --device) _gvm_words "gpu dri nvidia kvm sound video serial" "$word"; return ;;
    --seccomp) _gvm_words "default strict" "$word"; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word"); return ;;
    --for) _gvm_words "once run 10m 1h" "$word"; return ;;
    --workspace | --dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
    esac
    case $word in
    -*) _gvm_words "$(_gvm_options "$verb")" "$word"; return ;;
    esac
    case $verb in
    help) _gvm_words "$_gvm_verbs" "$word" ;;
    audit)
        [ "$COMP_CWORD" -eq 2 ] && _gvm_words "verify prove extends verify-proof checkpoint head timestamp publish export serve key keygen rotate-key protect-key unprotect-key" "$word"
        ;;
    events)
        [ "$COMP_CWORD" -eq 2 ] && _gvm_words "trace" "$word"
        ;;
    diff | review | commit | discard | undo | logs)
        [ "$COMP_CWORD" -eq 2 ] && _gvm_words "$(_gvm_runs)" "$word"
        ;;
    esac
}

complete -o default -F _gvm gvm
