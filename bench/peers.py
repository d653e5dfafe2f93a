"""The origin and the other proxies that bench/run measures GVM beside, each as it is meant to be run."""
import os
import shutil
import socket
import subprocess

import gvmtest

HOST = "bench.example"


class Peer:
    """A running proxy. `connect`: clients ask it with CONNECT and trust `ca`; else they dial it, for HTTP/2
    at port2 (None: it has none)."""

    def __init__(self, name, process, port, ca=None, port2=None):
        self.name, self.process, self.port, self.ca, self.port2 = name, process, port, ca, port2
        self.connect = ca is not None


def cpu_seconds(pid):
    """User and system time of a process and all below it, dead children included."""
    total = 0
    waiting = [pid] if pid else []
    while waiting:
        pid = waiting.pop()
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            with open(f"/proc/{pid}/task/{pid}/children") as f:
                waiting += f.read().split()
        except OSError:
            continue
        total += sum(int(v) for v in fields[11:15])
    return total / os.sysconf("SC_CLK_TCK")


def pss(pid):
    """Bytes that a process and all below it hold, what they share counted by halves."""
    total = 0
    waiting = [pid]
    while waiting:
        pid = waiting.pop()
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("Pss:")) * 1024
            with open(f"/proc/{pid}/task/{pid}/children") as f:
                waiting += f.read().split()
        except (OSError, StopIteration):
            continue
    return total


def wait_port(port):
    def up():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0
    if not gvmtest.wait_for(up, 15):
        raise RuntimeError(f"nothing answers on port {port}")


def folder(top, name):
    path = os.path.join(top, name)
    os.makedirs(path)
    return path


def find(name, *places):
    found = shutil.which(name) or next((p for p in places if os.path.exists(p)), None)
    if not found:
        print(f"{name} is not installed: not measured")
    return found


def start(argv, port, **more):
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, **more)
    wait_port(port)
    return process


def start_nginx(top, certs):
    here = folder(top, "nginx")
    pem, key = certs.issue(HOST)
    port = gvmtest.free_port()
    with open(os.path.join(here, "nginx.conf"), "w") as f:
        f.write(f"""daemon off; worker_processes 1; pid {here}/pid; error_log {here}/error.log;
{'user root;' if os.getuid() == 0 else ''}
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; http2_max_concurrent_streams 256; client_body_temp_path {here}/b;
  proxy_temp_path {here}/p; fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
  server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {pem}; ssl_certificate_key {key};
    location / {{ default_type text/plain; return 200 "ok\\n"; }} }} }}
""")
    return start([shutil.which("nginx") or "/usr/sbin/nginx", "-c", os.path.join(here, "nginx.conf"),
                  "-p", here, "-e", os.path.join(here, "error.log")], port), port


def make_ca(path, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", path + ".key", "-out", path, "-days", "10", "-subj",
                    f"/CN={name}"], check=True, stderr=subprocess.DEVNULL)


def start_haproxy(top, certs, origin):
    """haproxy ending TLS on both sides: it judges nothing and knows its one host beforehand."""
    program = find("haproxy", "/usr/sbin/haproxy")
    if not program:
        return None
    here = folder(top, "haproxy")
    port, port2 = gvmtest.free_port(), gvmtest.free_port()
    pem, key = certs.issue(HOST)
    both = os.path.join(here, "both.pem")
    with open(both, "w") as f:
        f.write(open(pem).read() + open(key).read())
    with open(os.path.join(here, "haproxy.cfg"), "w") as f:
        f.write(f"""global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:{port} ssl crt {both} alpn http/1.1
  default_backend out
frontend in2
  bind 127.0.0.1:{port2} ssl crt {both} alpn h2
  default_backend out2
backend out
  server origin 127.0.0.1:{origin} ssl verify required ca-file {certs.ca} sni str({HOST}) verifyhost {HOST}
backend out2
  server origin 127.0.0.1:{origin} ssl verify required ca-file {certs.ca} sni str({HOST}) verifyhost {HOST} alpn h2
""")
    process = start([program, "-db", "-f", os.path.join(here, "haproxy.cfg")], port)
    return Peer("haproxy", process, port, port2=port2)


def start_squid(top, certs, origin):
    """squid with ssl-bump, every connection decrypted at once."""
    program = find("squid", "/usr/sbin/squid")
    helper = "/usr/lib/squid/security_file_certgen"
    if not program or not os.path.exists(helper):
        return None
    here = folder(top, "squid")
    ca = os.path.join(here, "ca.pem")
    make_ca(ca, "squid CA")
    subprocess.run([helper, "-c", "-s", os.path.join(here, "db"), "-M", "4MB"], check=True,
                   stdout=subprocess.DEVNULL)
    port = gvmtest.free_port()
    os.chmod(top, 0o711)  # squid started as root becomes another user
    with open(os.path.join(here, "hosts"), "w") as f:
        f.write(f"127.0.0.1 {HOST}\n")
    with open(os.path.join(here, "squid.conf"), "w") as f:
        f.write(f"""http_port 127.0.0.1:{port} ssl-bump generate-host-certificates=on \
tls-cert={ca} tls-key={ca}.key dynamic_cert_mem_cache_size=4MB
sslcrtd_program {helper} -s {here}/db -M 4MB
ssl_bump bump all
tls_outgoing_options cafile={certs.ca}
hosts_file {here}/hosts
http_access allow all
cache deny all
access_log stdio:{here}/access.log
cache_log {here}/cache.log
pid_filename {here}/pid
coredump_dir {here}
pinger_enable off
shutdown_lifetime 0 seconds
""")
    subprocess.run(["chmod", "-R", "a+rwX", here], check=True)
    process = start([program, "-N", "-f", os.path.join(here, "squid.conf")], port)
    return Peer("squid ssl-bump", process, port, ca)


def start_mitmproxy(top, certs, origin):
    """mitmdump with an /etc/hosts of its own: it can be told no address for a name."""
    program = find("mitmdump")
    if not program:
        return None
    here = folder(top, "mitmproxy")
    port = gvmtest.free_port()
    ca = os.path.join(here, "mitmproxy-ca-cert.pem")
    hosts = os.path.join(here, "hosts")
    with open(hosts, "w") as f:
        f.write(f"127.0.0.1 {HOST}\n")
    command = (f"mount --bind {hosts} /etc/hosts && exec {program} --quiet --set confdir={here} "
               f"--listen-host 127.0.0.1 --listen-port {port} --set flow_detail=0 "
               f"--set ssl_verify_upstream_trusted_ca={certs.ca}")
    process = start(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command], port)
    if not gvmtest.wait_for(lambda: os.path.exists(ca), 15):
        raise RuntimeError("mitmdump made no certificate")
    return Peer("mitmproxy", process, port, ca)


PROXIES = (start_haproxy, start_squid, start_mitmproxy)
