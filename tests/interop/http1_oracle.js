// Node's own HTTP server as a second opinion: one connection per input line (hex), one line of JSON out
// with every request it saw on it. Started by test_http1_node.py.
'use strict';
const http = require('http');
const net = require('net');
const readline = require('readline');

let seen = null;

function note(req, how) {
    const one = {
        how,
        method: Buffer.from(req.method, 'latin1').toString('hex'),
        target: Buffer.from(req.url, 'latin1').toString('hex'),
        minor: req.httpVersionMinor,
        headers: [],
        body: '',
        complete: false,
    };
    for (let i = 0; i < req.rawHeaders.length; i += 2)
        one.headers.push([Buffer.from(req.rawHeaders[i], 'latin1').toString('hex'),
                          Buffer.from(req.rawHeaders[i + 1], 'latin1').toString('hex')]);
    seen.messages.push(one);
    return one;
}

const server = http.createServer({maxHeaderSize: 256 * 1024, keepAliveTimeout: 0}, (req, res) => {
    const one = note(req, 'request');
    req.on('data', (chunk) => { one.body += chunk.toString('hex'); });
    req.on('end', () => { one.complete = true; res.end(); });
    req.on('error', () => {});
    res.on('error', () => {});
});
server.on('connect', (req, socket) => { note(req, 'connect').complete = true; socket.destroy(); });
server.on('upgrade', (req, socket) => { note(req, 'upgrade').complete = true; socket.destroy(); });
server.on('clientError', (error, socket) => { seen.error = error.code || String(error); socket.destroy(); });

function ask(hex) {
    return new Promise((resolve) => {
        seen = {messages: [], error: null, status: ''};
        const result = seen;
        const client = net.connect(server.address().port, '127.0.0.1', () => {
            client.end(Buffer.from(hex, 'hex'));
        });
        client.setTimeout(3000, () => client.destroy());
        client.on('data', (d) => { if (!result.status) result.status = d.toString('latin1').slice(0, 15); });
        client.on('error', () => {});
        // The server's side may still report an error in this turn of the loop.
        client.on('close', () => setImmediate(() => resolve(result)));
    });
}

server.listen(0, '127.0.0.1', async () => {
    const lines = readline.createInterface({input: process.stdin});
    for await (const line of lines)
        process.stdout.write(JSON.stringify(await ask(line.trim())) + '\n');
    server.close();
});
