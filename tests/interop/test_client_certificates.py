"""Client certificates towards servers that ask for one: nginx checks them. Only the host a certificate is bound
to sees it, only over TLS, only for requests that were allowed; no connection or session made with it serves
anybody else."""
import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import proxyrig as rig
import speak

tap = gvmtest.Tap()
home = gvmtest.Home()
os.chmod(home.top, 0o755)
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
clients = gvmtest.Certificates(os.path.join(home.top, "clients"))
STRICT, BOTH, ASKS, PLAIN = ("strict.example.test", "both.example.test", "asks.example.test", "plain.example.test")
program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
if not program:
    tap.ok(not gvmtest.MUST_WORK, "nginx is here")
    tap.done()


def identity(name):
    cert, key = clients.issue(name)
    with open(cert + ".ext", "w") as f:  # issue() makes certificates of servers
        f.write("extendedKeyUsage=clientAuth\n")
    subprocess.run(["openssl", "x509", "-req", "-in", cert[:-4] + ".csr", "-CA", clients.ca, "-CAkey", clients.ca[:-4] + ".key",
                    "-CAcreateserial", "-out", cert, "-days", "5", "-extfile", cert + ".ext"], check=True, capture_output=True)
    return cert, key


robot, other = identity("robot.clients.test"), identity("other.clients.test")
top = tempfile.mkdtemp(dir=home.top)
ports = {h: gvmtest.free_port() for h in (STRICT, BOTH, ASKS, PLAIN)}
servers = ""
for host, verify in ((STRICT, "on"), (BOTH, "on"), (ASKS, "optional")):
    cert, key = certs.issue(host)
    servers += f"""server {{ listen 127.0.0.1:{ports[host]} ssl http2; ssl_certificate {cert}; ssl_certificate_key {key};
      ssl_client_certificate {clients.ca}; ssl_verify_client {verify}; ssl_session_cache shared:{host[:4]}:1m; ssl_session_tickets on;
      location / {{ return 200 "$ssl_client_verify $ssl_client_s_dn $http_authorization\\n"; }} }}\n"""
servers += f'server {{ listen 127.0.0.1:{ports[PLAIN]}; location / {{ return 200 "plain\\n"; }} }}\n'
access = os.path.join(top, "access")
with open(os.path.join(top, "nginx.conf"), "w") as f:
    f.write(f"""daemon off; master_process off; pid {top}/pid; error_log stderr;
events {{ worker_connections 256; }}
http {{ log_format line "$server_port $uri $ssl_client_verify"; access_log {access} line; client_body_temp_path {top}/b;
 proxy_temp_path {top}/p; fastcgi_temp_path {top}/f; uwsgi_temp_path {top}/u; scgi_temp_path {top}/s;
 {servers} }}""")
nginx = subprocess.Popen([program, "-c", os.path.join(top, "nginx.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
atexit.register(nginx.kill)
RULES = f"""
[policy]
default = {{ type = "Deny" }}
[[rules]]
name = "no admin"
method = "*"
pattern = "*.example.test/admin"
decision = "Deny"
[[rules]]
name = "all"
method = "*"
pattern = "*.example.test"
decision = "Allow"
"""
UPSTREAM = gvmtest.upstream_config(certs.ca, {**ports})


def credential(host, kind, pair, more=""):
    return (f'[credentials."{host}"]\ntype = "{kind}"\n{more}certificate = "file:{pair[0]}"\n'
            f'certificate_key = "file:{pair[1]}"\n')


BOUND = (RULES + credential(STRICT, "ClientCertificate", robot) + credential(BOTH, "Bearer", other, 'token = "token-4711"\n') +
         credential(PLAIN, "ClientCertificate", robot))
home.write_config(BOUND + UPSTREAM)
daemon = rig.start_daemon(home)
run = rig.Run(home, "20260101T000000-000001")
gvmtest.wait_for(lambda: speak.Http1.ask(run, ASKS).status == 200, 10)
own = [("Authorization", "Bearer agents-own")]
for how in speak.BOTH:
    tap.prefix = how.name + ": "
    for n in range(3):
        a = how.ask(run, STRICT, f"/{n}", fields=own)
        tap.eq((a.status, a.body.split()), (200, b"SUCCESS CN=robot.clients.test Bearer agents-own".split()),
               "a server that asks gets the certificate; the agent's own fields stay", a.raw)
    a = how.ask(run, BOTH, fields=own)
    tap.eq((a.status, a.body.split()), (200, b"SUCCESS CN=other.clients.test Bearer token-4711".split()),
           "another host has its own, beside a token", a.raw)
    a = how.ask(run, ASKS, fields=own)
    tap.eq((a.status, a.body.split()), (200, b"NONE Bearer agents-own".split()), "a host that has none gets none", a.raw)
    tap.eq(how.ask(run, STRICT, "/admin").status, 403, "a denied request")
    tap.eq(how.ask(run, ASKS, authority=STRICT).status, 421, "the name of one on a connection to another")
tap.prefix = ""
a = speak.Http1.ask(run, PLAIN, clear=True)
tap.eq((a.status, a.body), (200, b"plain\n"), "in clear text there is none to show")
with open(access) as f:
    tap.ok("/admin" not in f.read(), "what is denied does not reach the server")
# Another policy without the credential, in the same proxy: neither its connections nor its sessions.
bare = os.path.join(home.top, "bare.toml")
with open(bare, "w") as f:
    os.fchmod(f.fileno(), 0o600)
    f.write(RULES + UPSTREAM)
stranger = rig.Run(home, "20260101T000000-000002", config=bare)
for how in speak.BOTH:
    a = how.ask(stranger, STRICT)
    tap.eq((a.status, b"No required SSL certificate" in a.body), (400, True), f"{how.name}: a run without it is nobody to the server", a.raw)
stranger.finish()
run.finish()
entries = rig.entries(home)
used = {(e["host"], e["type"]) for e in entries if e["kind"] == "credential.use"}
tap.ok({(STRICT, "ClientCertificate"), (BOTH, "Bearer")} <= used, "its use is in the record", used)
with open(robot[1]) as f:
    secret = f.read().split("\n")[1]
tap.ok(secret not in json.dumps(entries) + rig.daemon_log(home), "the key is nowhere in it, nor in the log")
# ---- what cannot work is refused when it is loaded ----
locked = os.path.join(home.top, "locked.key")
subprocess.run(["openssl", "pkcs8", "-topk8", "-in", robot[1], "-out", locked, "-passout", "pass:x"], check=True, capture_output=True)
for name, pair, word in (("a key of another certificate", (robot[0], other[1]), "belong together"),
                         ("a key with a password", (robot[0], locked), "belong together"),
                         ("a file that is not there", (robot[0], "/nowhere"), "cannot be read"),
                         ("a file that is none", (robot[0], home.config), "not in PEM")):
    home.write_config(RULES + credential(STRICT, "ClientCertificate", pair) + UPSTREAM)
    got = home.gvm("reload")
    tap.ok(got.returncode != 0 and word in got.stderr, f"{name} is refused, and it says why", got.stderr)
for name, text, word in (("half of it", f'type = "ClientCertificate"\ncertificate = "file:{robot[0]}"\n', "belong together"),
                         ("none of it", 'type = "ClientCertificate"\n', "add certificate"),
                         ("a text in place of a file", 'type = "ClientCertificate"\ncertificate = "x"\ncertificate_key = "y"\n', "are files"),
                         ("a token with it", f'type = "ClientCertificate"\ntoken = "x"\ncertificate = "file:{robot[0]}"\n'
                          f'certificate_key = "file:{robot[1]}"\n', "sets no header")):
    home.write_config(RULES + f'[credentials."{STRICT}"]\n' + text + UPSTREAM)
    got = home.gvm("check", home.config)
    tap.ok(got.returncode != 0 and word in got.stderr and "gvm.toml:" in got.stderr, f"{name} is an error of the file", got.stderr)
gvmtest.end(daemon, 10)
tap.done()
