'use strict';

// An Express application on `node:cluster`, with express-session and connect-redis as their
// manuals show them: the identifier stays the same at login, logout destroys and sends nothing.
//
// PORT (0: any), WORKERS (2), SESSION (redis | memory), REDIS_URL, PROXY=1 (`trust proxy`),
// COOKIE_SECURE (1 | auto), REGENERATE=1 (a new identifier at login, as careful users have it),
// LOGIN_FAILURE.

const cluster = require('node:cluster');
const http = require('node:http');
const { pipeline } = require('node:stream');
const shared = require('./shared');

if (cluster.isPrimary) primary();
else worker().catch(problem => { console.error(problem); process.exit(1); });

function primary() {
  const count = shared.number(process.env.WORKERS, 2, 16);
  let listening = 0;
  let stopping = false;
  for (let i = 0; i < count; i++) cluster.fork();
  cluster.on('listening', (_, address) => {
    listening += 1;
    if (listening === count) shared.ready(address.port);
  });
  // A worker leaves the list with the later of its two events.
  const leaveWithTheLast = () => {
    if (!stopping) process.exit(1);
    if (Object.keys(cluster.workers).length === 0) process.exit(0);
  };
  cluster.on('exit', leaveWithTheLast);
  cluster.on('disconnect', leaveWithTheLast);
  shared.onEnd(() => {
    stopping = true;
    for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGTERM');
  });
}

async function worker() {
  const express = require('express');
  const session = require('express-session');
  const { WebSocketServer } = require('ws');

  const app = express();
  if (process.env.PROXY === '1') app.set('trust proxy', 1);
  const secure = { 1: true, auto: 'auto' }[process.env.COOKIE_SECURE] || false;
  app.use(session({
    secret: ['fixture-secret-1', 'fixture-secret-0'],
    resave: false,
    saveUninitialized: false,
    cookie: { secure },
    store: process.env.SESSION === 'memory' ? new session.MemoryStore() : await redisStore(),
  }));
  const form = express.urlencoded({ extended: false });

  app.get('/', (req, res) => {
    if (req.query.touch === '1') req.session.views = (req.session.views || 0) + 1;
    const { user = null, views = 0, cart = [] } = req.session;
    res.json({ app: 'express', worker: process.pid, user, views, cart });
  });
  app.get('/whoami', (req, res) => res.json({ user: req.session.user || null, worker: process.pid }));
  app.get('/healthz', (req, res) => res.send('ok'));
  app.get('/login', (req, res) => res.type('html').send(shared.LOGIN_FORM('')));
  app.post('/login', form, async (req, res) => {
    const { username, password } = req.body || {};
    if (!username || password === 'wrong') {
      return res.status(shared.failureStatus(req.query.failure)).type('html').send('wrong password');
    }
    if (process.env.REGENERATE === '1') {
      await new Promise((resolve, reject) => req.session.regenerate(problem => (problem ? reject(problem) : resolve())));
    }
    req.session.user = username;
    res.redirect(shared.nextPath(req.query.next));
  });
  app.post('/logout', (req, res, next) => {
    req.session.destroy(problem => (problem ? next(problem) : res.redirect('/')));
  });
  app.get('/account/', (req, res) => {
    if (!req.session.user) return res.redirect('/login');
    res.type('html').send(`account of ${req.session.user}`);
  });
  app.post('/cart/add', form, async (req, res) => {
    const cart = req.session.cart || [];
    await shared.sleep(shared.number(req.body?.delay_ms || req.query.delay_ms, 0, 10_000));
    req.session.cart = [...cart, req.body?.item];
    res.json({ cart: req.session.cart });
  });
  app.get('/cart', (req, res) => res.json({ cart: req.session.cart || [], worker: process.pid }));
  app.get('/slow', async (req, res) => {
    await shared.sleep(shared.number(req.query.ms, 0, 60_000));
    res.json({ slept: true, worker: process.pid });
  });
  app.get('/set-cookies', (req, res) => {
    res.setHeader('Set-Cookie', shared.ODD_COOKIES);
    res.type('json').send(shared.ODD_BODY);
  });
  app.get('/headers', (req, res) => res.json({
    ...shared.received(req), secure: req.secure, ip: req.ip, host: req.host,
  }));
  app.post('/echo', (req, res) => {
    res.setHeader('Content-Type', req.headers['content-type'] || 'application/octet-stream');
    pipeline(req, res, () => {});
  });
  app.get('/stream', (req, res) => {
    res.type('text/plain');
    pipeline(shared.lines(shared.number(req.query.n, 5, 1e6), shared.number(req.query.every_ms, 50, 60_000)), res, () => {});
  });
  app.get('/sse', (req, res) => {
    res.setHeader('Content-Type', 'text/event-stream');
    res.setHeader('Cache-Control', 'no-cache');
    pipeline(shared.events(shared.number(req.query.n, 1e6, 1e6), shared.number(req.query.every_ms, 1000, 60_000)), res, () => {});
  });

  const server = http.createServer(app);
  const sockets = new WebSocketServer({ server, path: '/ws' });
  sockets.on('connection', socket => socket.on('message', (data, binary) => socket.send(data, { binary })));

  const stop = () => {
    for (const socket of sockets.clients) socket.terminate();
    shared.closeServer(server);
  };
  process.once('SIGTERM', stop);
  process.on('SIGINT', () => {}); // a terminal sends it to us too; the primary decides
  server.listen(shared.number(process.env.PORT, 0, 65_535), '127.0.0.1');
}

async function redisStore() {
  const { RedisStore } = require('connect-redis');
  const { createClient } = require('redis');
  const client = createClient({ url: process.env.REDIS_URL });
  // Without a listener an outage would end the process; the client reconnects by itself.
  client.on('error', () => {});
  await client.connect();
  return new RedisStore({ client });
}
