'use strict';

// Drives a real Chromium through one scenario and prints what was seen, a line `RESULT <json>` each time;
// tests/it/chromium.rs judges it.
//
//   node drive.js SCENARIO PROFILE HOST PORT PIN
//
// HOST's port 443 is 127.0.0.1:PORT, PIN the SHA-256 of its certificate's public key in base64,
// PROFILE an empty directory.

const { Chromium } = require('./devtools');

const TICKET = '__Host-shop';
const [scenario, profile, host, port, pin] = process.argv.slice(2);
const origin = `https://${host}`;

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

async function ticketOf(visitor) {
  const cookies = await visitor.cookies();
  return cookies.find(cookie => cookie.name === TICKET)?.value ?? null;
}

/** Types into the login form and sends it. */
async function logIn(tab) {
  await tab.goto(`${origin}/login`);
  await tab.leads('the login', () => tab.evaluate(`
    document.querySelector('[name=username]').value = 'alice';
    document.querySelector('[name=password]').value = 'secret';
    document.forms[0].requestSubmit();
  `));
}

/** Fetches these in turn, `width` at a time, until \`window.enough\` is set. */
const FETCHES = (width, requests) => `
  window.enough = false;
  window.seen = [];
  window.fetching = Promise.all(Array.from({ length: ${width} }, async (_, lane) => {
    const requests = ${JSON.stringify(requests)};
    for (let n = lane; !window.enough; n++) {
      const [method, path, body] = requests[n % requests.length];
      const headers = body ? { 'Content-Type': 'application/x-www-form-urlencoded' } : {};
      const answer = await fetch(path, { method, headers, body, cache: 'no-store' });
      await answer.text();
      window.seen.push(answer.status);
    }
  }));
  0`;

const who = tab => tab.evaluate("fetch('/whoami', { cache: 'no-store' }).then(a => a.json()).then(j => j.user)");

/** One tab logs in while three others load. */
async function round(browser, hold) {
  const visitor = await browser.visitor();
  const login = await visitor.tab();
  // The first answer makes the anonymous session that all tabs have.
  await login.goto(`${origin}/?touch=1`);
  const before = await ticketOf(visitor);
  const others = [await visitor.tab(), await visitor.tab(), await visitor.tab()];
  const [reader, writer, walker] = others;
  await Promise.all(others.map(tab => tab.goto(`${origin}/`)));

  await reader.evaluate(FETCHES(2, [['GET', '/whoami'], ['GET', '/slow?ms=30'], ['GET', '/cart']]));
  await writer.evaluate(FETCHES(2, [
    ['GET', '/?touch=1'], ['POST', '/cart/add', 'item=a&delay_ms=40'], ['GET', '/login'],
  ]));
  let walks = 0;
  let enough = false;
  const walking = (async () => {
    for (; !enough; walks++) await walker.goto(`${origin}${walks % 2 ? '/?touch=1' : '/account/'}`);
  })();
  await sleep(hold);
  await logIn(login);
  const landed = await login.evaluate('location.pathname');
  const after = await ticketOf(visitor);
  await sleep(200);
  enough = true;
  for (const tab of [reader, writer]) await tab.evaluate('window.enough = true; window.fetching.then(() => 0)');
  await walking;

  const statuses = [...await reader.evaluate('window.seen'), ...await writer.evaluate('window.seen')];
  const users = [];
  for (const tab of [login, ...others]) users.push(await who(tab));
  const pages = [];
  for (const tab of [login, ...others]) {
    await tab.goto(`${origin}/account/`);
    pages.push(await tab.text());
  }
  const atLast = await ticketOf(visitor);
  await visitor.leave();
  return {
    before, after, at_last: atLast, landed, walks, users, pages,
    fetches: statuses.length, odd: statuses.filter(status => status !== 200),
  };
}

const scenarios = {
  async* login(browser) {
    for (const hold of [0, 25, 80]) yield await round(browser, hold);
  },

  /** What script sees, and what the browser's cookie store holds. */
  async* cookies(browser) {
    const visitor = await browser.visitor();
    const tab = await visitor.tab();
    await logIn(tab);
    await tab.evaluate("fetch('/set-cookies').then(() => 0)");
    const script = await tab.evaluate('document.cookie');
    // A script cannot put one in the ticket's place either.
    const ticket = await ticketOf(visitor);
    await tab.evaluate(`document.cookie = '${TICKET}=planted; Secure; Path=/'; 0`);
    await tab.evaluate(`document.cookie = '=${TICKET}=planted; Secure; Path=/'; 0`);
    const kept = (await ticketOf(visitor)) === ticket;
    yield { script, kept, cookies: await visitor.cookies() };
  },

  /** Logs out from another page than the private one, and goes back there. */
  async* back(browser) {
    const visitor = await browser.visitor();
    const tab = await visitor.tab();
    await logIn(tab);
    const account = await tab.text();
    await tab.evaluate("localStorage.setItem('draft', 'private')");
    await tab.goto(`${origin}/login`);
    await tab.leads('the logout', () => tab.evaluate(`
      const form = document.createElement('form');
      form.method = 'post';
      form.action = '/logout';
      document.body.append(form);
      form.submit();
    `));
    const out = await tab.evaluate('location.pathname');
    await tab.back();
    await tab.back();
    const stored = await tab.evaluate("localStorage.getItem('draft')");
    yield { account, out, url: await tab.evaluate('location.pathname'), back: await tab.text(), stored };
  },
};

(async () => {
  const browser = Chromium.start({ profile, host, port, pin });
  try {
    for await (const seen of scenarios[scenario](browser)) console.log(`RESULT ${JSON.stringify(seen)}`);
  } finally {
    await browser.close();
  }
})().catch(error => {
  console.error(error);
  process.exit(1);
});
// Ends with whoever started it.
process.stdin.on('end', () => process.exit(2)).resume().unref?.();
