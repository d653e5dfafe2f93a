// Node's http2 through a CONNECT tunnel: several streams at a time, one of them denied, one with trailers.
'use strict';
const http = require('http'), http2 = require('http2'), tls = require('tls'), fs = require('fs');
const [port, ca, host] = process.argv.slice(2);
http.request({ host: '127.0.0.1', port, method: 'CONNECT', path: `${host}:443`, headers: { Host: `${host}:443` } })
  .on('connect', (answer, socket) => {
    const session = http2.connect(`https://${host}`, {
      createConnection: () => tls.connect({ socket, servername: host, ALPNProtocols: ['h2'], ca: fs.readFileSync(ca) }),
    });
    session.on('error', (e) => { console.log(`error ${e.message}`); process.exit(1); });
    const one = (headers, body) => new Promise((resolve) => {
      const stream = session.request(headers, { endStream: body === undefined });
      let status, got = 0;
      stream.on('response', (h) => { status = h[':status']; });
      stream.on('data', (d) => { got += d.length; });
      stream.on('close', () => resolve(`${headers[':path']} ${status} ${got} ${stream.rstCode}`));
      stream.on('error', () => {});
      if (body !== undefined) stream.end(body);
    });
    Promise.all([
      one({ ':path': '/bytes/100000' }), one({ ':path': '/admin/x' }),
      one({ ':path': '/up', ':method': 'POST' }, Buffer.alloc(300000)), one({ ':path': '/bytes/0' }),
    ]).then((lines) => { console.log(lines.join('\n')); session.close(); socket.end(); process.exit(0); });
  }).end();
