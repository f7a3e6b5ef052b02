'use strict';

// Drives a real Chromium over the pages that are Cloakroom's own, and prints what was seen, a line
// `RESULT <json>`; tests/it/pages.rs judges it.
//
//   node pages.js SCENARIO PROFILE ADMIN TOKEN HOST PORT PIN [DIRECTORY]
//
// ADMIN is where the admin listener is, TOKEN what it asks for; HOST's port 443 is 127.0.0.1:PORT, PIN the SHA-256
// of its certificate's public key in base64, PROFILE an empty directory. Screenshots go into DIRECTORY.

const fs = require('node:fs');
const path = require('node:path');
const { Chromium, within } = require('./devtools');

const [scenario, profile, admin, token, host, port, pin, directory] = process.argv.slice(2);
const DEVICES = `https://${host}/.well-known/cloakroom/sessions`;
const AXE = fs.readFileSync(path.join(__dirname, '../apps/node_modules/axe-core/axe.min.js'), 'utf8');
const SIZES = { phone: [390, 844], tablet: [820, 1180], desktop: [1440, 900] };
const THEMES = ['light', 'dark'];

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

/** Waits until an expression is true in the page. */
const until = (tab, expression) => within(expression, (async () => {
  while (!await tab.evaluate(`Boolean(${expression})`)) await sleep(50);
})());

async function look(tab, size, theme) {
  const [width, height] = SIZES[size];
  await tab.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
  await tab.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: theme }] });
  // Colours change over a moment.
  await sleep(300);
}

/** What axe-core finds, in every theme and size; and where a page is wider than its window. */
async function flaws(tab) {
  await tab.evaluate(`${AXE}; 0`);
  const found = [];
  for (const theme of THEMES) {
    for (const size of Object.keys(SIZES)) {
      await look(tab, size, theme);
      const { violations } = await tab.evaluate('axe.run({ resultTypes: ["violations"] }).then(({ violations }) => ({ violations }))');
      for (const { id, nodes } of violations) found.push(`${theme} ${size} ${id}: ${nodes.map(node => node.html).join(' ')}`);
      const wide = await tab.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
      if (wide > 0) found.push(`${theme} ${size}: ${wide} px too wide`);
    }
  }
  await look(tab, 'desktop', 'light');
  return found;
}

async function shoot(tab, name) {
  for (const theme of THEMES) {
    for (const size of Object.keys(SIZES)) {
      await look(tab, size, theme);
      const height = await tab.evaluate('Math.ceil(document.documentElement.getBoundingClientRect().height)');
      const clip = { x: 0, y: 0, width: SIZES[size][0], height: Math.min(Math.max(height, SIZES[size][1]), 2600), scale: 1 };
      const { data } = await tab.send('Page.captureScreenshot', { format: 'png', clip, captureBeyondViewport: true });
      fs.writeFileSync(path.join(directory, `${name}-${size}-${theme}.png`), Buffer.from(data, 'base64'));
    }
  }
}

/** A tab, and what its console and its policy complain of. */
async function tabWithEars(visitor) {
  const tab = await visitor.tab();
  const complaints = [];
  const asked = new Set();
  visitor.browser.listen(tab.session, (method, params) => {
    if (method === 'Log.entryAdded' && params.entry.level === 'error' && !/status of (401|404|409)/.test(params.entry.text)) {
      complaints.push(params.entry.text);
    }
    if (method === 'Runtime.exceptionThrown') complaints.push(params.exceptionDetails.text);
    if (method === 'Network.requestWillBeSent') asked.add(new URL(params.request.url).origin);
  });
  await tab.send('Log.enable');
  await tab.send('Runtime.enable');
  await tab.send('Network.enable');
  return { tab, complaints, asked };
}

/** Opens the status page and shows it the token. */
async function openStatus(browser) {
  const visitor = await browser.visitor();
  const ears = await tabWithEars(visitor);
  const { tab } = ears;
  await tab.goto(`http://${admin}/`);
  await until(tab, "document.querySelector('#ask').open");
  await tab.evaluate("document.querySelector('[name=token]').value = 'a-wrong-token-of-some-length'; document.querySelector('#ask-yes').click(); 0");
  await until(tab, "!document.querySelector('#ask-problem').hidden");
  await tab.evaluate(`document.querySelector('[name=token]').value = ${JSON.stringify(token)}; document.querySelector('#ask-yes').click(); 0`);
  await until(tab, "!document.querySelector('#ask').open && document.body.dataset.shown");
  return ears;
}

async function logIn(browser, agent, language = 'en') {
  const visitor = await browser.visitor();
  const ears = await tabWithEars(visitor);
  await ears.tab.send('Network.setUserAgentOverride', { userAgent: agent, acceptLanguage: language });
  await ears.tab.goto(`https://${host}/`);
  await ears.tab.leads('the login', () => ears.tab.evaluate(`
    const form = document.createElement('form');
    form.method = 'post';
    form.action = '/login?user=alice';
    document.body.append(form);
    form.submit();
  `));
  return ears;
}

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0';
const SAFARI = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1';
const EDGE = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0';

const scenarios = {
  async* status(browser) {
    const { tab, complaints, asked } = await openStatus(browser);
    const text = await tab.text();
    const found = await flaws(tab);
    const steps = [];
    /** Presses a button of an endpoint, fills the dialog, confirms it, and tells what the table says then. */
    const press = async (label, fields = {}) => {
      await tab.evaluate(`document.querySelector(${JSON.stringify(`[aria-label="${label}"], #${label}`.replace(/, #.* .*$/, ''))}).click(); 0`);
      await until(tab, "document.querySelector('#ask').open");
      for (const [name, value] of Object.entries(fields)) {
        await tab.evaluate(`(() => {
          const field = document.querySelector('#ask [name="${name}"][value="${value}"][type=radio]') || document.querySelector('#ask [name="${name}"]');
          if (field.type === 'radio') field.checked = true; else field.value = ${JSON.stringify(String(value))};
        })()`);
      }
      await tab.evaluate("document.querySelector('#ask-yes').click(); 0");
      await until(tab, "!document.querySelector('[aria-busy]')");
      const problem = await tab.evaluate("document.querySelector('#ask').open ? document.querySelector('#ask-problem').textContent : null");
      if (problem) await tab.evaluate("document.querySelector('#ask-no').click(); 0");
      steps.push({ label, problem, upstreams: await tab.evaluate("document.querySelector('#upstreams').innerText") });
    };
    const endpoint = await tab.evaluate("document.querySelector('#upstreams td').textContent");
    await press(`drain ${endpoint}`);
    await press(`enable ${endpoint}`);
    await press(`weight of ${endpoint}`, { weight: 7 });
    await press('add an endpoint to shop', { endpoint: '127.0.0.1:9', weight: 2 });
    await press('remove 127.0.0.1:9');
    await press(`remove ${endpoint}`);
    await press('reload');
    await press('revoke', { what: 'subject', name: 'alice' });
    await press('revoke', { what: 'all', name: 'alice' });
    await press('revoke', { what: 'all', name: 'everybody' });
    // The keyboard alone: the first Tab leads past the header, Escape closes a dialog.
    await tab.evaluate("document.querySelector('#reload').focus(); 0");
    const key = (type, name, code, more = {}) => tab.send('Input.dispatchKeyEvent', { type, key: name, code, windowsVirtualKeyCode: more.vk, text: more.text });
    await key('keyDown', 'Enter', 'Enter', { vk: 13, text: '\r' });
    await key('keyUp', 'Enter', 'Enter', { vk: 13 });
    await until(tab, "document.querySelector('#ask').open");
    await key('keyDown', 'Escape', 'Escape', { vk: 27 });
    await key('keyUp', 'Escape', 'Escape', { vk: 27 });
    await until(tab, "!document.querySelector('#ask').open");
    const focused = await tab.evaluate('document.activeElement.id');
    const events = await tab.evaluate("document.querySelector('#events').innerText");
    yield { text, found, steps, focused, events, complaints, asked: [...asked] };
  },

  async* devices(browser) {
    const [hers, phone, work] = [await logIn(browser, FIREFOX), await logIn(browser, SAFARI, 'de-DE,de'), await logIn(browser, EDGE, 'zh-CN')];
    const { tab, complaints, asked } = hers;
    await tab.goto(DEVICES);
    const text = await tab.text();
    const found = await flaws(tab);
    const titles = [];
    for (const one of [hers, phone, work]) {
      await one.tab.goto(DEVICES);
      titles.push(await one.tab.evaluate("document.documentElement.lang + ' ' + document.title"));
    }
    const press = (where, label) => where.leads(label, () => where.evaluate(
      `[...document.querySelectorAll('button')].find(button => (button.ariaLabel || button.textContent) === ${JSON.stringify(label)}).click()`));
    await press(tab, 'Sign out: Safari on iPhone');
    const one = await tab.text();
    const url = await tab.evaluate('location.pathname + location.search');
    await press(tab, 'Sign out everywhere else');
    const others = await tab.text();
    await phone.tab.goto(DEVICES);
    const gone = await phone.tab.text();
    await press(tab, 'Sign out here: Firefox on Linux');
    const here = await tab.text();
    const cookies = await hers.tab.evaluate('document.cookie');
    yield { text, found, titles, one, url, others, gone, here, cookies, complaints, asked: [...asked] };
  },

  async* shots(browser) {
    const hers = await logIn(browser, FIREFOX);
    await logIn(browser, SAFARI);
    await logIn(browser, EDGE);
    await hers.tab.goto(DEVICES);
    await shoot(hers.tab, 'devices');
    yield { page: 'devices' };
    const { tab } = await openStatus(browser);
    // Plots need a while; whoever waits is told now and then.
    for (let step = 0; step < 10; step++) {
      await sleep(8000);
      yield { step };
    }
    await until(tab, "document.querySelectorAll('#plots polyline').length > 3");
    await shoot(tab, 'status');
    yield { page: 'status' };
  },
};

(async () => {
  const browser = Chromium.start({ profile, host, port, pin, local: true });
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
