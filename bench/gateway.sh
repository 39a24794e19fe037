#!/bin/sh
# Proxied requests per second and per CPU second of the proxy: ours on both loop backends, nginx and HAProxy, one worker
# each, keep-alive on both sides, no access log, in one run on one machine. Peers that are not installed are left out.
#
# usage: bench/gateway.sh [BUILD_DIR [SECONDS [BODY_BYTES]]]      (defaults build, 5, 128; needs wrk)
# Everything listens on 127.0.0.1; ports are BASE_PORT (default 18100) and the next ones.
set -eu

build=${1:-build}
seconds=${2:-5}
bytes=${3:-128}
base=${BASE_PORT:-18100}
upstream=$base
dir=$(mktemp -d)
pids=

stop() {
    for pid in $pids; do
        kill "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap stop EXIT
trap 'exit 1' INT TERM

for program in "$build/bench/upstream" "$build/bench/gateway_standalone"; do
    [ -x "$program" ] || { echo "gateway.sh: $program is missing: build it first (ninja -C $build)" >&2; exit 2; }
done
command -v wrk >/dev/null || { echo "gateway.sh: wrk is not installed" >&2; exit 2; }

wait_for() { # port
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        if wrk -c 1 -t 1 -d 1 "http://127.0.0.1:$1/" 2>/dev/null | grep -q 'requests in'; then
            return 0
        fi
        sleep 0.1
    done
    echo "gateway.sh: nobody answers on port $1" >&2
    exit 1
}

# CPU time of a process in clock ticks.
ticks() { # pid
    awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

measure() { # name, pid whose CPU counts, port
    for connections in 1 64; do
        wrk -c "$connections" -t 1 -d 1 "http://127.0.0.1:$3/" >/dev/null
        before=$(ticks "$2")
        wrk -c "$connections" -t 1 -d "$seconds" --latency "http://127.0.0.1:$3/" >"$dir/wrk"
        after=$(ticks "$2")
        awk -v name="$1" -v connections="$connections" -v ticks="$((after - before))" -v hz="$(getconf CLK_TCK)" '
            /requests in/ { requests = $1 }
            /Requests\/sec/ { rate = $2 }
            /^ *50%/ { p50 = $2 }
            /^ *99%/ { p99 = $2 }
            /Non-2xx|Socket errors/ { bad = " (" $0 ")" }
            END { printf "%-22s %11d %12.0f %16.0f %9s %9s%s\n", name, connections, rate,
                         requests / (ticks / hz), p50, p99, bad }' "$dir/wrk"
    done
}

start_ours() { # backend, port
    "$build/bench/gateway_standalone" "$1" "127.0.0.1:$2" "127.0.0.1:$upstream" 2>/dev/null &
    ours=$!
    pids="$pids $ours"
    wait_for "$2"
    measure "flotilla, $1" "$ours" "$2"
    kill "$ours"
    wait "$ours" 2>/dev/null || true
}

start_nginx() { # port
    cat >"$dir/nginx.conf" <<EOF
daemon off;
worker_processes 1;
pid $dir/nginx.pid;
error_log $dir/nginx.log;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
    keepalive_requests 1000000000;
    upstream up { server 127.0.0.1:$upstream; keepalive 256; keepalive_requests 1000000000; }
    server {
        listen 127.0.0.1:$1;
        location / {
            proxy_pass http://up;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
            proxy_set_header X-Request-Id \$request_id;
        }
    }
}
EOF
    nginx -e "$dir/nginx.log" -c "$dir/nginx.conf" 2>/dev/null &
    master=$!
    pids="$pids $master"
    wait_for "$1"
    measure "$(nginx -v 2>&1 | sed 's/.*: //; s,/, ,')" "$(tr -d ' ' <"/proc/$master/task/$master/children")" "$1"
    kill "$master"
    wait "$master" 2>/dev/null || true
}

start_haproxy() { # port
    cat >"$dir/haproxy.cfg" <<EOF
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 1s
    option http-keep-alive
    http-reuse always
frontend in
    bind 127.0.0.1:$1
    unique-id-format %{+X}o%ci%cp%Ts%rt
    unique-id-header X-Request-Id
    option forwardfor
    default_backend up
backend up
    server s1 127.0.0.1:$upstream
EOF
    haproxy -db -f "$dir/haproxy.cfg" >/dev/null 2>&1 &
    haproxy=$!
    pids="$pids $haproxy"
    wait_for "$1"
    measure "haproxy $(haproxy -v | sed -n '1s/.*version \([0-9.]*\).*/\1/p')" "$haproxy" "$1"
    kill "$haproxy"
    wait "$haproxy" 2>/dev/null || true
}

"$build/bench/upstream" "$upstream" "$bytes" &
pids=$!
wait_for "$upstream"
echo "$seconds s each, answers of $bytes bytes, one worker, $(nproc) cores, Linux $(uname -r)"
echo "proxy                  connections   requests/s  per CPU second       p50       p99"
start_ours uring $((base + 1))
start_ours epoll $((base + 2))
if command -v nginx >/dev/null; then
    start_nginx $((base + 3))
fi
if command -v haproxy >/dev/null; then
    start_haproxy $((base + 4))
fi
