"""Rows of the attack catalogue over HTTP/1.1 and HTTP/2 by one table: what a request may say does not depend
on how it is sent. Each refusal stands beside the ordinary case. (N2, N5, N10, N14, N15, N19, N25 to N30, P7,
C6; N1, N3, N4, N6 to N9, N18, N21, P5, P6 and P8 are in test_proxy.py and test_http2.py, bodies in
test_bodies.py.)"""
import base64
import json
import os
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import gvmtest
import h2rig
import proxyrig as rig
import speak
import spellings

tap = gvmtest.Tap()
home = gvmtest.Home()
certs = gvmtest.Certificates(os.path.join(home.top, "certs"))
GOOD, BAD, KEY, KEY2, PAY = "good.wild.test", "bad.wild.test", "key.example.test", "key2.example.test", "pay.example.test"
HUB, API, NPM, MODEL, DROP = "hub.example.test", "api.hub.example.test", "npm.example.test", "model.example.test", "drop.example.test"
DNS, OLD, SELF, PLAIN = "dns.example.test", "expired.example.test", "self.example.test", {
    speak.Http1: "plain.example.test", speak.Http2: "plain2.example.test"}
SECRET, SECRET2 = "sk-real-credential-0001", "sk-real-credential-0002"
up = gvmtest.Echo(certs.issue(GOOD, BAD, KEY, KEY2, PAY, HUB, API, NPM, MODEL, DROP, DNS))
plain, local = {speak.Http1: gvmtest.Echo(), speak.Http2: h2rig.Server()}, gvmtest.Echo()
strangers = gvmtest.Certificates(os.path.join(home.top, "strangers"))
self_made = gvmtest.Echo(strangers.issue(SELF))
over = gvmtest.Echo(certs.issue(OLD, days=-1))
HOSTS = (GOOD, BAD, KEY, KEY2, PAY, HUB, API, NPM, MODEL, DROP, DNS)


def rule(name, method, pattern, decision, more=""):
    return f'[[rules]]\nname = "{name}"\nmethod = {json.dumps(method)}\npattern = "{pattern}"\n{more}\ndecision = {decision}\n'


ALLOW, DENY, ASK = '"Allow"', '"Deny"', '"RequireApproval"'
RULES = (rule("not that one", "*", BAD, DENY) + rule("all below", "*", "*.wild.test", ALLOW) +
         rule("ask for metadata", "*", "169.254.169.254", ASK, "private = true") +
         rule("ask for loopback", "*", "127.0.0.1", ASK) + rule("pay", "*", PAY, ASK) +
         rule("keys", "*", "*.example.test/with-key/**", ALLOW) +
         # N29: what an owner writes who wants one organisation's work and nobody else's
         rule("our repositories", ["GET", "POST", "PATCH"], API + "/repos/ours/**", ALLOW) +
         rule("our git", "*", HUB, ALLOW, 'git = { repo = "ours/*" }') +
         rule("packages are read", ["GET", "HEAD"], NPM, ALLOW) +
         rule("our model account", "POST", MODEL + "/v1/messages", ALLOW,
              'header = { name = "x-organization", value = "ours" }') +
         rule("small change", "POST", DROP, ALLOW, 'limit = "20KB/h"') +
         rule("plain", "*", PLAIN[speak.Http1], ALLOW) +
         rule("plain two", "*", PLAIN[speak.Http2], ALLOW) + rule("bad certificates", "*", SELF, ALLOW) + rule("old", "*", OLD, ALLOW))


def configured(default, more=""):
    return (f"[policy]\ndefault = {default}\n[timeouts]\napproval = \"5s\"\nhead = \"3s\"\n" + RULES + more +
            "".join(f'[credentials."{h}"]\ntype = "Bearer"\ntoken = "{s}"\n' for h, s in ((KEY, SECRET), (KEY2, SECRET2))) +
            gvmtest.upstream_config(certs.ca, {**{h: up.port for h in HOSTS}, SELF: self_made.port, OLD: over.port,
                                               **{PLAIN[v]: plain[v].port for v in speak.BOTH}}))


SLOW = '{ type = "Delay", milliseconds = 1 }'
CLOSED = '{ type = "Deny", reason = "not on the list" }'
home.write_config(configured(CLOSED))
daemon = rig.start_daemon(home)
run, how = None, None  # of the version that the rows run over


def proxies():
    return [c["pid"] for c in rig.Control(home).call("CLIENT_STATUS")["children"] if c["role"] == "proxy"]


def refused(answer, *others):
    return answer.status in (0, 400, 403, 421, 431) + others


def asks(control):
    return control.call("APPROVALS").get("pending", [])


def n2_spellings():
    for spelling, same in spellings.of_host(GOOD):
        before = len(up.seen)
        a = how.ask(run, GOOD, authority=spelling)
        ok = a.status == 200 if same else refused(a) and len(up.seen) == before or (same is None and a.status == 200)
        tap.ok(ok, f"N2 {spelling!r} for the host it is", a.raw)
    before = len(up.seen)
    for spelling, same in spellings.of_host(BAD):
        a = how.ask(run, BAD, authority=spelling)
        tap.ok(refused(a), f"N2 {spelling!r} for a host that is denied under a wildcard", a.raw)
        a = how.ask(run, BAD, authority=spelling, clear=True)
        tap.ok(refused(a, 502, 504), f"N2 {spelling!r} in clear text", a.raw)
    tap.eq(len(up.seen), before, "N2 nothing of it went upstream")


def n5_no_name():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2" if how is speak.Http2 else "http/1.1"])
    try:
        with context.wrap_socket(run.tunnel("203.0.113.7:443")) as s:
            if how is speak.Http2:
                status = h2rig.Client(s).ask("203.0.113.7").status
            else:
                status = rig.ask(s, "GET /x HTTP/1.1\r\nHost: 203.0.113.7\r\n\r\n").status
    except (OSError, rig.Refused):
        status = 0
    tap.ok(status in (0, 403), "N5 TLS without a name to an address that no rule names", status)


def n10_own_secrets():
    got = [dict(how.ask(run, host, "/with-key/x").json().get("headers", [])) for host in (KEY, KEY2, KEY, KEY2)]
    sent = [{k.lower(): v for k, v in g.items()}.get("authorization") for g in got]
    tap.eq(sent, ["Bearer " + SECRET, "Bearer " + SECRET2] * 2, "N10 two hosts and one path: each gets its own")
    for host, other in ((KEY, KEY2), (KEY2, KEY)):
        a = how.ask(run, host, "/with-key/x", authority=other)
        tap.eq(a.status, 421, f"N4 N10 {other} asked for on the connection to {host}")


def n14_addresses():
    for spelling in spellings.LOOPBACKS + spellings.METADATA:
        a = how.ask(run, GOOD, authority=f"{spellings.on_wire(spelling)}:{local.port}", clear=True)
        tap.ok(refused(a, 502), f"N14 {spelling}", a.raw)
    tap.eq(len(local.seen), 0, "N13 N14 nothing reached the host's loopback")
    tap.eq(how.ask(run, PLAIN[how], clear=True).status, 200, "N14 beside it: a pinned name is reached")


QUESTION = b"\0\0\1\0\0\1\0\0\0\0\0\0\x0bsecret-data\5exfil\4test\0\0\1\0\1"


def n15_resolvers():
    """Even where the default lets requests through (the run of open_run())."""
    b64 = base64.urlsafe_b64encode(QUESTION).decode().rstrip("=")
    wire = [("Content-Type", "application/dns-message"), ("Accept", "application/dns-message")]
    before = len(up.seen)
    for name, path, method, fields, body in (
            ("POST", "/dns-query", "POST", wire, QUESTION), ("GET", f"/dns-query?dns={b64}", "GET", wire[1:], None),
            ("GET without a type", f"/q?dns={b64}", "GET", (), None), ("POST elsewhere", "/x", "POST", wire[:1], QUESTION),
            ("JSON", "/resolve?name=secret-data.exfil.test&type=TXT", "GET", (), None),
            ("JSON by its type", "/x?name=a", "GET", [("accept", "application/dns-json")], None),
            ("an escaped path", "/%64ns-query", "POST", (), QUESTION)):
        a = how.ask(run, DNS, path, method, fields, body)
        tap.ok(a.status == 403 and "HTTPS" in a.json().get("reason", ""), f"N15 {name} to a resolver no rule names", a.raw + a.body)
    tap.eq(len(up.seen), before, "N15 nothing of it went upstream")
    tap.eq(how.ask(run, DNS, "/x").status, 200, "N15 beside it: another request to that host")
    tap.eq(how.ask(run, GOOD, "/dns-query", "POST", wire, QUESTION).status, 200, "N15 and a resolver that a rule allows")
    context = ssl.create_default_context(cafile=run.ca)
    try:
        with context.wrap_socket(run.tunnel(DNS + ":853"), server_hostname=DNS) as s:
            s.sendall(len(QUESTION).to_bytes(2, "big") + QUESTION)
            s.settimeout(5)
            got = s.recv(100)
    except (OSError, rig.Refused):
        got = b""
    tap.ok(not got or b"400" in got, "N15 DNS over TLS on port 853", got)


def n19_redirect():
    a = how.ask(run, KEY, f"/redirect?to=https://{GOOD}/take")
    tap.eq(a.status, 403, "N19 only what a rule allows")
    a = how.ask(run, KEY, "/with-key/x")
    tap.eq(a.status, 200, "N19 the host that gets the secret")
    up.seen.clear()
    how.ask(run, GOOD, "/take")
    tap.ok(up.seen and SECRET not in json.dumps(up.seen), "N19 a request to where a redirect leads has none")


def n25_placeholders():
    stand_in = "gvm-ph-0123456789abcdef01234567"
    before = len(up.seen)
    for name, path, fields in (("in the path", f"/a/{stand_in}", ()), ("in the query", f"/x?key={stand_in}", ()),
                               ("in a field", "/x", [("X-Api-Key", stand_in)]),
                               ("in Authorization", "/x", [("Authorization", "Bearer " + stand_in)]),
                               ("in a cookie", "/x", [("Cookie", f"a=b; key={stand_in}")]),
                               ("in the path, escaped", "/a/%67vm-ph-0123456789abcdef01234567", ())):
        a = how.ask(run, GOOD, path, fields=fields)
        tap.ok(a.status == 403 and a.json().get("rule") == "placeholder", f"N25 {name}", a.raw + a.body)
    tap.eq(len(up.seen), before, "N25 none left")
    tap.eq(how.ask(run, GOOD, "/x?key=gvm-other").status, 200, "N25 beside it: another word")


def n26_half_open():
    """Requests that never end, on connections of their own, do not stop others."""
    calls = [how.call(run, GOOD, length=1000) for _ in range(20)]
    for c in calls:
        c.send(b"x")
    tap.eq(how.ask(run, GOOD).status, 200, "N26 beside requests that do not end")
    for c in calls:
        c.__exit__()


def n27_crash():
    pids = proxies()
    for pid in pids:
        with open(f"/proc/{pid}/status") as f:
            state = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        tap.eq([state[k] for k in ("Seccomp", "NoNewPrivs", "CapEff", "CapPrm", "CapInh")], ["2", "1"] + ["0" * 16] * 3,
               "N27 the proxy has a filter, no new privileges, no capabilities")
    tap.eq(how.ask(run, GOOD).status, 200, "N27 before")
    with how.call(run, GOOD, "/admin", length=100) as c:
        c.send(b"x" * 10)
        time.sleep(0.1)
        for pid in pids:
            os.kill(pid, 9)
        before = len(up.seen)
        c.send(b"x" * 90, True)
        a = c.answer()
        tap.ok(a.status == 0, "N27 a proxy that dies answers nothing", a.raw)
    tap.ok(not any(s["length"] == 100 for s in up.seen[before:]), "N27 and forwards nothing more")

    def again():
        try:
            return how.ask(run, GOOD, "/again").status == 200
        except (OSError, rig.Refused):
            return False
    tap.ok(gvmtest.wait_for(again, 15), "N27 it is started again", rig.daemon_log(home)[-500:])
    tap.eq(how.ask(run, BAD).status, 403, "N27 with the same rules")


def n28_certificates():
    for host, why in ((SELF, "of somebody nobody trusts"), (OLD, "that has expired")):
        a = how.ask(run, host)
        tap.ok(a.status == 502 and "certificate" in a.json().get("reason", ""), f"N28 a server's certificate {why}", a.raw + a.body)
    tap.eq((len(self_made.seen), len(over.seen)), (0, 0), "N28 no request was sent there")
    with run.tls(GOOD, alpn=("h2",) if how is speak.Http2 else ("http/1.1",)) as s:
        begins = ssl.cert_time_to_seconds(s.getpeercert()["notBefore"])
    tap.ok(begins <= time.time() - 600, "N28 our own holds for a clock that is ten minutes slow", begins)


def n29_drop_boxes():
    org = [("X-Organization", "ours")]
    rows = ((API, "GET", "/repos/ours/app/issues", (), 200), (API, "POST", "/repos/ours/app/issues", (), 200),
            (API, "POST", "/repos/theirs/app/issues", (), 403), (API, "POST", "/gists", (), 403),
            (API, "POST", "/repos/ours/../theirs/app/issues", (), 403), (API, "POST", "/repos/ours%2f..%2ftheirs/x", (), 403),
            (API, "POST", "/repos/oursx/app", (), 403), (API, "POST", "/Repos/ours/app", (), 403),
            (API, "PUT", "/repos/ours/app/collaborators/them", (), 403), (API, "POST", "/user/repos", (), 403),
            (HUB, "GET", "/ours/app.git/info/refs?service=git-receive-pack", (), 200),
            (HUB, "GET", "/theirs/app.git/info/refs?service=git-receive-pack", (), 403),
            (HUB, "POST", "/theirs/app.git/git-receive-pack", (), 403), (HUB, "POST", "/ours/app.git/git-receive-pack", (), 200),
            (HUB, "POST", "/ours/../theirs/app.git/git-receive-pack", (), 403),
            (NPM, "GET", "/left-pad", (), 200), (NPM, "PUT", "/left-pad", (), 403), (NPM, "POST", "/-/v1/login", (), 403),
            (NPM, "PUT", "/@ours%2fapp", (), 403), (MODEL, "POST", "/v1/messages", org, 200),
            (MODEL, "POST", "/v1/messages", [("X-Organization", "theirs")], 403), (MODEL, "POST", "/v1/messages", (), 403),
            (MODEL, "POST", "/v1/messages", org + [("X-Organization", "theirs")], 403), (MODEL, "POST", "/v1/files", org, 403))
    for host, method, path, fields, want in rows:
        before = len(up.seen)
        a = how.ask(run, host, path, method, fields, b"0000" if method != "GET" else None)
        tap.ok((a.status == want or want == 403 and refused(a)) and len(up.seen) == before + (want == 200), f"N29 {method} {host}{path} {dict(fields) or ''}: {want}",
               a.raw)


def n30_low_and_slow():
    got = [how.ask(run, DROP, "/x", "POST", body=b"s" * 1024).status for _ in range(30)]
    passed = got.count(200)
    tap.ok(15 <= passed <= 21 and got[passed:] == [403] * (30 - passed), "N30 30 times 1 KB under a limit of 20 KB", got)
    other = speak.Http1 if how is speak.Http2 else speak.Http2
    tap.eq(other.ask(run, DROP, "/x", "POST", body=b"s" * 1024).status, 403, "N30 the count is the same for " + other.name)
    tap.eq(how.ask(run, DROP, "/y", "POST", body=b"s", counted=False).status, 403, "N30 and for a body without a length")


def c6_never_asked():
    control = rig.Control(home)
    for authority in ("169.254.169.254", "2852039166", "[::ffff:a9fe:a9fe]", f"127.0.0.1:{local.port}", f"0x7f.1:{local.port}"):
        began = time.monotonic()
        a = how.ask(run, GOOD, authority=authority, clear=True)
        tap.ok(a.status == 403 and time.monotonic() - began < 3 and not asks(control), f"C6 {authority} is denied, nobody is asked",
               a.raw + a.body)
    with how.call(run, PAY, length=0) as c:
        c.send(b"", True)
        ask = (gvmtest.wait_for(lambda: asks(control), 5) or [{}])[0]
        tap.eq(ask.get("url"), f"https://{PAY}/x", "C6 beside it: another host is asked about")
        control.call("DECIDE", {"id": str(ask["id"]), "allow": False, "for": "once", "reason": "test"})
        tap.eq(c.answer().status, 403, "C6 and denied by a no")


def p7_reload():
    control = rig.Control(home)
    with how.call(run, PAY, "/granted", length=0) as c:
        c.send(b"", True)
        ask = (gvmtest.wait_for(lambda: asks(control), 5) or [{}])[0]
        control.call("DECIDE", {"id": str(ask["id"]), "allow": True, "for": "run", "reason": "test"})
        tap.eq(c.answer().status, 200, "P7 a yes for the run")

    def state():
        return [how.ask(run, host, path, method).status for host, path, method in (
            (PAY, "/granted", "POST"), (GOOD, "/x", "GET"), (BAD, "/x", "GET"), (DNS, "/unknown", "GET"))]
    before = state()
    tap.eq(before, [200, 200, 403, 403], "P7 before")
    for broken in ("[policy\n", configured('"Allow"') + "[[rules]]\nmethod = \"*\"\n", configured('"Allow"') + "\nunknown = 1\n",
                   configured('"Allow"', rule("x", "*", GOOD, ALLOW, 'path_regex = "("')), "\0\1\2"):
        home.write_config(broken)
        tap.ok(home.gvm("reload").returncode != 0, "P7 a broken file is refused")
        tap.eq(state(), before, "P7 old rules, the default and grants stay in force")
    home.write_config(configured(CLOSED, rule("new", "*", DNS, ALLOW)))
    tap.eq(home.gvm("reload").returncode, 0, "P7 a good one is taken")
    tap.eq(state(), [200, 200, 403, 200], "P7 new rules hold, grants survive")
    home.write_config(configured(CLOSED))
    home.gvm("reload")


ROWS = (n2_spellings, n5_no_name, n10_own_secrets, n14_addresses, n19_redirect, n25_placeholders, n26_half_open,
        n28_certificates, n29_drop_boxes, n30_low_and_slow, c6_never_asked, p7_reload, n27_crash)


def go(test):
    try:
        test()
    except Exception as e:  # the next rows still run
        tap.ok(False, f"{test.__name__}: {type(e).__name__}: {e}", rig.daemon_log(home)[-2000:])


for number, how in enumerate(speak.BOTH, 1):
    tap.prefix = how.name + ": "
    run = rig.Run(home, f"20260101T000000-{number:06x}")
    for row in ROWS:
        go(row)
    run.finish()
home.write_config(configured(SLOW))
for number, how in enumerate(speak.BOTH, 16):
    tap.prefix = how.name + ": "
    run = rig.Run(home, f"20260101T000000-{number:06x}")
    go(n15_resolvers)
    run.finish()
tap.prefix = ""
log = json.dumps(rig.entries(home))
tap.ok(SECRET not in log and SECRET2 not in log, "no secret is in the ledger")
gvmtest.end(daemon, 10)
left = rig.daemon_log(home)
tap.ok("signal 31" not in left and "SIGSYS" not in left and "Sanitizer" not in left and "runtime error" not in left,
       "no process broke its confinement or crashed by itself", left[-3000:])
tap.done()
