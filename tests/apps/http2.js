'use strict';

// A worker that speaks HTTP/2 without TLS, by Node's own server.
//
// PORT (0: any). GET / says what came. POST /echo sends the body back, with a trailer that says how many
// bytes it had. GET /large?bytes= sends so many. GET /early answers while the body is still coming.

const http2 = require('node:http2');

const server = http2.createServer({ settings: { maxConcurrentStreams: 32 } });
let connections = 0;
server.on('session', () => { connections += 1; });

server.on('stream', (stream, headers) => {
  // Who leaves early is no reason to end.
  stream.on('error', () => {});
  const url = new URL(headers[':path'], 'http://localhost');
  switch (url.pathname) {
    case '/echo': {
      let bytes = 0;
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-bytes': String(bytes) }));
      stream.on('data', piece => { bytes += piece.length; });
      stream.pipe(stream);
      break;
    }
    case '/large': {
      const bytes = Number(url.searchParams.get('bytes'));
      stream.respond({ ':status': 200, 'content-length': bytes });
      stream.end(Buffer.alloc(bytes, 'x'));
      break;
    }
    case '/early':
      stream.additionalHeaders({ ':status': 103, link: '</style.css>; rel=preload' });
      stream.respond({ ':status': 413 });
      stream.end('too much');
      break;
    default:
      stream.respond({ ':status': 200, 'content-type': 'application/json', 'set-cookie': ['a=1', 'b=2'] });
      stream.end(JSON.stringify({ headers, connections }));
  }
});

server.listen(Number(process.env.PORT || 0), '127.0.0.1', () => {
  console.log(`READY ${server.address().port}`);
});
process.on('SIGTERM', () => process.exit(0));
process.stdin.resume().on('end', () => process.exit(0));
