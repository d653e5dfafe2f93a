// node fetch.js fetch|https URL...: prints each status. Neither looks at proxy variables.
const [how, ...urls] = process.argv.slice(2);
const https = require('https');

function get(url) {
  if (how === 'fetch') return fetch(url).then(async (r) => { await r.text(); return r.status; });
  return new Promise((resolve, reject) => {
    https.get(url, (r) => { r.resume(); r.on('end', () => resolve(r.statusCode)); }).on('error', reject);
  });
}

(async () => {
  for (const url of urls) console.log(await get(url));
})().catch((e) => { console.error(e); process.exit(1); });
