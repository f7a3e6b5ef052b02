'use strict';

// What it sees, under Node. SEEN: the file to write it to.

const fs = require('node:fs');
const http = require('node:http');

const note = line => fs.appendFileSync(process.env.SEEN, `${line}\n`, 'latin1');

const server = http.createServer((req, res) => {
  const pieces = [];
  req.on('data', piece => pieces.push(piece));
  req.on('end', () => {
    const line = `${req.method} ${req.url} ${Buffer.concat(pieces).toString('hex')}`;
    note(line);
    res.end(line);
  });
});

// One that was broken off is no request.
const BROKEN_OFF = ['ECONNRESET', 'HPE_INVALID_EOF_STATE'];
server.on('clientError', (error, socket) => {
  if (!BROKEN_OFF.includes(error.code)) console.error(`UNREADABLE ${error.code}`);
  socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
});

server.keepAliveTimeout = 30_000;
server.listen(Number(process.env.PORT), '127.0.0.1');
