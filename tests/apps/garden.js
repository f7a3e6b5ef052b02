'use strict';

// A worker that says what it sees: a line for each request, `METHOD TARGET BODY` with the body in
// hexadecimal, in its answer and in a file, in which it also notes what it could not read.
//
// PORT (0: any), SEEN (the file; must be given).

const fs = require('node:fs');
const http = require('node:http');
const shared = require('./shared');

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
  if (!BROKEN_OFF.includes(error.code)) note(`UNREADABLE ${error.code}`);
  socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
});

shared.onEnd(() => shared.closeServer(server));
server.listen(shared.number(process.env.PORT, 0, 65_535), '127.0.0.1', () => shared.ready(server.address().port));
