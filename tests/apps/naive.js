'use strict';

// An application without a framework, with the mistakes that such applications have: sessions in
// the memory of one process, predictable identifiers, identifiers that a client made up are
// adopted, the identifier stays the same at login, its cookie has no attribute at all. Run it
// twice, on two ports, to have a "cluster" that shares nothing.
//
// PORT (0: any), LOGIN_FAILURE.

const http = require('node:http');
const { pipeline } = require('node:stream');
const { WebSocketServer } = require('ws');
const shared = require('./shared');

const sessions = new Map();
let made = 0;

/** The session that the first `sid` cookie names, adopted if it is not known. */
function open(req) {
  const pair = (req.headers.cookie || '').split(';').map(text => text.trim()).find(text => text.startsWith('sid='));
  const id = pair && pair.slice('sid='.length);
  return { id, data: id ? sessions.get(id) || {} : {} };
}

function save(res, session) {
  if (!session.id) {
    made += 1;
    session.id = `${process.pid}-${made}`;
    res.setHeader('Set-Cookie', `sid=${session.id}`);
  }
  sessions.set(session.id, session.data);
}

function json(res, value) {
  res.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(value));
}

function page(res, status, html) {
  res.writeHead(status, { 'Content-Type': 'text/html; charset=utf-8' }).end(html);
}

function redirect(res, location) {
  res.writeHead(302, { Location: location }).end();
}

async function form(req) {
  let text = '';
  for await (const chunk of req.setEncoding('utf8')) text += chunk;
  return new URLSearchParams(text);
}

const routes = {
  'GET /': (req, res, { query, session }) => {
    if (query.get('touch') === '1') {
      session.data.views = (session.data.views || 0) + 1;
      save(res, session);
    }
    const { user = null, views = 0, cart = [] } = session.data;
    json(res, { app: 'naive', worker: process.pid, user, views, cart });
  },
  'GET /whoami': (req, res, { session }) => json(res, { user: session.data.user || null, worker: process.pid }),
  'GET /healthz': (req, res) => res.end('ok'),
  'GET /login': (req, res) => page(res, 200, shared.LOGIN_FORM('')),
  'POST /login': async (req, res, { query, session }) => {
    const fields = await form(req);
    if (!fields.get('username') || fields.get('password') === 'wrong') {
      return page(res, shared.failureStatus(query.get('failure')), 'wrong password');
    }
    session.data.user = fields.get('username');
    save(res, session);
    redirect(res, shared.nextPath(query.get('next')));
  },
  'POST /logout': (req, res, { session }) => {
    sessions.delete(session.id);
    redirect(res, '/');
  },
  'GET /account/': (req, res, { session }) => {
    if (!session.data.user) return redirect(res, '/login');
    page(res, 200, `account of ${session.data.user}`);
  },
  'POST /cart/add': async (req, res, { query, session }) => {
    const fields = await form(req);
    const data = { ...session.data };
    await shared.sleep(shared.number(fields.get('delay_ms') || query.get('delay_ms'), 0, 10_000));
    data.cart = [...(data.cart || []), fields.get('item')];
    session.data = data;
    save(res, session);
    json(res, { cart: data.cart });
  },
  'GET /cart': (req, res, { session }) => json(res, { cart: session.data.cart || [], worker: process.pid }),
  'GET /slow': async (req, res, { query }) => {
    await shared.sleep(shared.number(query.get('ms'), 0, 60_000));
    json(res, { slept: true, worker: process.pid });
  },
  'GET /set-cookies': (req, res) => {
    res.setHeader('Set-Cookie', shared.ODD_COOKIES);
    res.writeHead(200, { 'Content-Type': 'application/json' }).end(shared.ODD_BODY);
  },
  'GET /headers': (req, res) => json(res, {
    ...shared.received(req),
    secure: false,
    ip: req.socket.remoteAddress,
    host: req.headers.host,
  }),
  'POST /echo': (req, res) => {
    res.writeHead(200, { 'Content-Type': req.headers['content-type'] || 'application/octet-stream' });
    pipeline(req, res, () => {});
  },
  'GET /stream': (req, res, { query }) => {
    res.writeHead(200, { 'Content-Type': 'text/plain' });
    pipeline(shared.lines(shared.number(query.get('n'), 5, 1e6), shared.number(query.get('every_ms'), 50, 60_000)), res, () => {});
  },
  'GET /sse': (req, res, { query }) => {
    res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
    pipeline(shared.events(shared.number(query.get('n'), 1e6, 1e6), shared.number(query.get('every_ms'), 1000, 60_000)), res, () => {});
  },
};

const server = http.createServer((req, res) => {
  const at = req.url.indexOf('?');
  const path = at < 0 ? req.url : req.url.slice(0, at);
  const query = new URLSearchParams(at < 0 ? '' : req.url.slice(at + 1));
  const route = routes[`${req.method} ${path}`];
  if (!route) return page(res, 404, 'not found');
  Promise.resolve(route(req, res, { query, session: open(req) })).catch(() => res.destroy());
});

const sockets = new WebSocketServer({ server, path: '/ws' });
sockets.on('connection', socket => socket.on('message', (data, binary) => socket.send(data, { binary })));

shared.onEnd(() => {
  for (const socket of sockets.clients) socket.terminate();
  shared.closeServer(server);
});
server.listen(shared.number(process.env.PORT, 0, 65_535), '127.0.0.1', () => shared.ready(server.address().port));
