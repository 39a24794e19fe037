// A small service in Node.js that registers itself: says what time it is.
//
// No packages, and nothing that knows Flotilla: it speaks Consul's HTTP API.
//
//     node demo/time.js --id time-1 --api 127.0.0.1:8500,127.0.0.1:8510
//
// It listens on a free port of loopback, registers itself with an HTTP check, and on SIGTERM or Ctrl-C
// deregisters, lets requests under way end, and stops.
'use strict';

const http = require('http');

const LEAVE_MS = 300; // between leaving the registry and closing: gateways have stopped sending by then
const AGAIN_MS = 500;
const TIMEOUT_MS = 2000;

function argument(name, otherwise) {
  const at = process.argv.indexOf('--' + name);
  return at > 0 && at + 1 < process.argv.length ? process.argv[at + 1] : otherwise;
}

const id = argument('id', 'time-1');
const nodes = argument('api', '127.0.0.1:8500').split(',');

function put(address, path, text) {
  return new Promise((resolve, reject) => {
    const [host, port] = address.split(':');
    const request = http.request({ host, port, path, method: 'PUT', timeout: TIMEOUT_MS }, (answer) => {
      answer.resume();
      answer.on('end', () => (answer.statusCode === 200 ? resolve() : reject(new Error('status ' + answer.statusCode))));
    });
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', reject);
    request.end(text);
  });
}

// On whichever of the nodes answers.
async function putAnywhere(path, document) {
  const text = document === undefined ? '' : JSON.stringify(document);
  for (const address of nodes) {
    try {
      await put(address, path, text);
      return true;
    } catch (trouble) {
      console.error(address + ': ' + trouble.message);
    }
  }
  return false;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let leaving = false;

const server = http.createServer((request, answer) => {
  answer.setHeader('Content-Type', 'text/plain; charset=utf-8');
  answer.end(request.url === '/health' ? 'ok\n' : 'It is ' + new Date().toISOString() + ', says ' + id + '\n');
});

async function leave() {
  if (leaving) {
    return;
  }
  leaving = true;
  await putAnywhere('/v1/agent/service/deregister/' + id);
  await pause(LEAVE_MS);
  console.log(id + ' has left');
  process.exit(0);
}

server.listen(0, '127.0.0.1', async () => {
  const port = server.address().port;
  const registration = {
    ID: id,
    Name: 'time',
    Address: '127.0.0.1',
    Port: port,
    Check: { HTTP: 'http://127.0.0.1:' + port + '/health', Interval: '1s', Timeout: '1s', Status: 'passing' },
  };
  while (!leaving && !(await putAnywhere('/v1/agent/service/register', registration))) {
    await pause(AGAIN_MS);
  }
  console.log(id + ' serves at 127.0.0.1:' + port);
});

process.on('SIGTERM', leave);
process.on('SIGINT', leave);
