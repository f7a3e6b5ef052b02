'use strict';

// What the three applications have in common: their answers that need no session, and how they
// start and end. Nothing in here is about cookies of sessions; that is each framework's own part.

const fs = require('node:fs');
const { Readable } = require('node:stream');

/**
 * Set-Cookie lines as frameworks and hands write them: all reach the wire byte for byte.
 * tests/it/support/apps.rs knows how many there are.
 */
const ODD_COOKIES = [
  'plain=1',
  'full=a; Path=/; Domain=shop.example.com; Expires=Wed, 21 Oct 2065 07:28:00 GMT; Max-Age=3600; Secure; HttpOnly; SameSite=Strict',
  'lower=b; path=/; expires=wed, 21 oct 2065 07:28:00 gmt; max-age=3600; httponly; samesite=lax',
  'dashes=c; EXPIRES=Wednesday, 21-Oct-65 07:28:00 GMT; PATH=/account',
  'none=d; path=/; samesite=none',
  'NoneUpper=e; Path=/; SameSite=NONE; Partitioned',
  'quoted="a, b; c"; Path=/',
  'empty=; Path=/',
  'unknown=f; Path=/; Priority=High; X-Flavour=vanilla; flag',
  'twice=1; Path=/',
  'twice=2; Path=/account',
  'csrfToken=yX-Q5CKNbe2I-Iy7uQRidcb-; path=/',
  `big=${'x'.repeat(4096 - 4)}; Path=/`,
  // Node writes header text as Latin-1: this puts the bytes of UTF-8 on the wire, as long as the
  // body is no string, with which it would join the head and encode both as UTF-8.
  `accent=${Buffer.from('caf\u00e9', 'utf8').toString('latin1')}; Path=/`,
  'equals=a=b==;Path=/;;  Secure ; Path="/second"',
];

const ODD_BODY = Buffer.from(JSON.stringify({ cookies: ODD_COOKIES.length }));

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

/** A whole number out of a query or form field, within bounds. */
function number(text, fallback, max) {
  const value = Number.parseInt(text, 10);
  return Number.isInteger(value) && value >= 0 ? Math.min(value, max) : fallback;
}

/** The request as Node received it: names in their own case, repeated fields apart. */
function received(req) {
  const headers = [];
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    headers.push([req.rawHeaders[i], req.rawHeaders[i + 1]]);
  }
  return { method: req.method, url: req.url, version: req.httpVersion, headers };
}

/** `count` lines, the first at once, then one every `everyMs`. */
function lines(count, everyMs) {
  return Readable.from((async function* () {
    for (let i = 0; i < count; i++) {
      if (i > 0) await sleep(everyMs);
      yield `line ${i}\n`;
    }
  })(), { objectMode: false });
}

/** An event stream, the first event at once, then one every `everyMs`. */
function events(count, everyMs) {
  return Readable.from((async function* () {
    for (let i = 0; i < count; i++) {
      if (i > 0) await sleep(everyMs);
      yield `id: ${i}\ndata: {"worker":${process.pid}}\n\n`;
    }
  })(), { objectMode: false });
}

const LOGIN_FORM = token => `<!doctype html>
<title>Log in</title>
<form method="post" action="/login">
<input type="hidden" name="_csrf" value="${token}">
<input name="username"><input name="password" type="password"><button>Log in</button>
</form>
`;

/**
 * The status of the page that says "wrong password": `?failure=` of the request, else
 * `LOGIN_FAILURE`, else 200, as most applications answer.
 */
function failureStatus(query) {
  return number(query, number(process.env.LOGIN_FAILURE, 200, 499), 499);
}

/** Where a login leads: to the path that its request asks for, as most applications do. */
function nextPath(next) {
  return /^\/[a-z]+$/.test(next || '') ? next : '/account/';
}

/** Calls `stop` when whoever started us is gone: its end of our stdin closes then, however it died. */
function onOrphaned(stop) {
  const stdin = fs.fstatSync(0);
  if (stdin.isFIFO() || stdin.isSocket()) {
    process.stdin.on('end', stop).on('error', stop).resume();
  }
}

/** Calls `stop` on SIGTERM, on SIGINT, and when whoever started us is gone. */
function onEnd(stop) {
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  onOrphaned(stop);
}

/** Ends a Node server: no new connections, idle ones closed, the rest cut after a second. */
function closeServer(server) {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
  setTimeout(() => process.exit(0), 1000).unref();
}

/** The one line on stdout that the tests wait for. */
function ready(port) {
  fs.writeSync(1, `READY ${port}\n`);
}

module.exports = {
  ODD_COOKIES, ODD_BODY, LOGIN_FORM, sleep, number, received, lines, events, failureStatus, nextPath, onOrphaned, onEnd, closeServer, ready,
};
