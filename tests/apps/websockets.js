// An echo over WebSockets, and a client that puts it through what Autobahn's suite asks of an endpoint, with
// everything in between passing the proxy.
//
//     websockets.js                  PORT (0: any); says READY <port>
//     websockets.js talk URL         prints what came of each case as JSON
'use strict';

const { WebSocket, WebSocketServer } = require('ws');

const LARGE = 1024 * 1024;

function serve() {
  const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.env.PORT || 0), perMessageDeflate: { threshold: 0 } });
  server.on('listening', () => console.log(`READY ${server.address().port}`));
  server.on('connection', (socket) => {
    socket.on('error', () => {});
    socket.on('message', (data, isBinary) => {
      const text = isBinary ? '' : data.toString();
      if (text.startsWith('close ')) return socket.close(Number(text.slice(6)), 'asked for');
      if (text === 'drop') return socket.terminate();
      if (text === 'ping') return socket.ping('from the server');
      socket.send(data, { binary: isBinary });
    });
  });
  process.stdin.resume().on('end', () => process.exit());
}

const url = process.argv[3];

function open(options) {
  const socket = new WebSocket(url, { perMessageDeflate: false, rejectUnauthorized: false, headers: { Host: 'a.example' }, ...options });
  return new Promise((resolve, reject) => {
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
  });
}

function next(socket, event) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no ${event} in time`)), 20000);
    socket.once(event, (...what) => {
      clearTimeout(late);
      resolve(what);
    });
  });
}

async function echoes(socket, data, binary) {
  const answer = next(socket, 'message');
  socket.send(data, { binary });
  const [came, isBinary] = await answer;
  return isBinary === binary && Buffer.compare(came, Buffer.from(data)) === 0;
}

async function closes(socket, ...how) {
  const closed = next(socket, 'close');
  socket.close(...how);
  const [code, reason] = await closed;
  return `${code} ${reason}`;
}

// A frame of a client's, masked with zeros.
function frame(first, payload) {
  return Buffer.concat([Buffer.from([first, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}

async function refused(first, payload) {
  const socket = await open();
  socket.on('error', () => {});
  const closed = next(socket, 'close');
  socket._socket.write(frame(first, payload));
  const [code] = await closed;
  return code;
}

async function sizes(options) {
  const socket = await open(options);
  for (const length of [0, 1, 125, 126, 127, 128, 65535, 65536, LARGE]) {
    const bytes = Buffer.alloc(length, (_, at) => at).map((_, at) => (at * 7 + (at >> 8)) & 0xff);
    if (!await echoes(socket, bytes, true)) return `binary of ${length}`;
    if (!await echoes(socket, 'ä€x'.repeat(length / 6), false)) return `text of ${length}`;
  }
  const extensions = socket.extensions;
  await closes(socket, 1000);
  return extensions;
}

const cases = {
  sizes: () => sizes(),
  compressed: () => sizes({ perMessageDeflate: { threshold: 0 } }),
  async fragments() {
    const socket = await open();
    const answer = next(socket, 'message');
    const pongs = [];
    socket.on('pong', (data) => pongs.push(data.toString()));
    for (let number = 0; number < 64; number++) {
      socket.send(`${number},`, { fin: false });
      if (number % 16 === 0) socket.ping(`between ${number}`);
    }
    socket.send('end', { fin: true });
    const [came] = await answer;
    await closes(socket, 1000);
    return [came.toString().split(',').length, pongs.length];
  },
  async one_byte_at_a_time() {
    const socket = await open();
    const answer = next(socket, 'message');
    const bytes = Buffer.concat([frame(0x01, Buffer.from('slow')), frame(0x89, Buffer.from('p')), frame(0x80, Buffer.from('ly'))]);
    for (const byte of bytes) {
      socket._socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const [came] = await answer;
    await closes(socket, 1000);
    return came.toString();
  },
  async pings() {
    const socket = await open();
    const heard = [];
    for (const payload of ['', 'x', 'p'.repeat(125)]) {
      const pong = next(socket, 'pong');
      socket.ping(payload);
      heard.push((await pong)[0].length);
    }
    const asked = next(socket, 'ping');
    socket.send('ping');
    heard.push((await asked)[0].toString());
    socket.pong('nobody asked');
    heard.push(await echoes(socket, 'still here', false));
    await closes(socket, 1000);
    return heard;
  },
  async codes() {
    const heard = [];
    for (const code of [1000, 1001, 1011, 3000, 4999]) heard.push(await closes(await open(), code, 'bye'));
    const socket = await open();
    const closed = next(socket, 'close');
    socket.send('close 4001');
    const [code, reason] = await closed;
    return heard.concat(`${code} ${reason}`);
  },
  async dropped() {
    const socket = await open();
    const closed = next(socket, 'close');
    socket.send('drop');
    return (await closed)[0];
  },
  // Reserved bits, a reserved opcode, a fragmented ping, text that is none.
  async violations() {
    return [await refused(0xf1, Buffer.from('x')), await refused(0x83, Buffer.from('x')), await refused(0x09, Buffer.from('x')), await refused(0x81, Buffer.from([0xce, 0xba, 0xff]))];
  },
  async many() {
    const socket = await open();
    let came = 0;
    const all = new Promise((resolve) => socket.on('message', () => ++came === 2000 && resolve()));
    for (let number = 0; number < 2000; number++) socket.send(`message ${number}`);
    await all;
    await closes(socket, 1000);
    return came;
  },
};

async function talk() {
  const found = {};
  for (const [name, run] of Object.entries(cases)) {
    found[name] = await run().catch((error) => `failed: ${error.message}`);
  }
  console.log(JSON.stringify(found));
  process.exit();
}

if (process.argv[2] === 'talk') talk();
else serve();
