'use strict';

// A headless Chromium behind the DevTools protocol's pipe: messages are JSON, each ended by a NUL,
// to the browser on descriptor 3, from it on descriptor 4. No package is needed for that, and the
// browser ends when the pipe does.
//
// https://chromedevtools.github.io/devtools-protocol/

const { spawn } = require('node:child_process');

const PATIENCE_MS = 30_000;

/** Rejects where `promise` takes too long. */
function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

class Chromium {
  #child;
  #next = 1;
  #calls = new Map();
  #listeners = new Set();

  /** `options`: profile (an empty directory), host, port (where the host's 443 is), pin; local: 127.0.0.1 is there, too. */
  static start({ profile, host, port, pin, local }) {
    const browser = new Chromium();
    browser.#child = spawn(process.env.CHROMIUM || 'chromium', [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage',
      '--no-first-run', '--disable-background-networking', '--disable-component-update',
      '--disable-sync', '--disable-default-apps', '--disable-extensions', '--disable-breakpad',
      '--disable-crash-reporter', '--no-proxy-server', '--password-store=basic',
      `--user-data-dir=${profile}`,
      // Every other name leads nowhere: nothing leaves this machine.
      `--host-resolver-rules=MAP ${host}:443 127.0.0.1:${port}, MAP * ~NOTFOUND${local ? ', EXCLUDE 127.0.0.1' : ''}`,
      // This one certificate is believed, and no other.
      `--ignore-certificate-errors-spki-list=${pin}`,
      '--remote-debugging-pipe', 'about:blank',
    ], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    browser.#child.on('error', error => browser.#fail(error));
    browser.#child.on('exit', code => browser.#fail(new Error(`chromium ended with ${code}`)));
    browser.#child.stdio[3].on('error', () => {});
    let rest = '';
    browser.#child.stdio[4].setEncoding('utf8');
    browser.#child.stdio[4].on('data', text => {
      const messages = (rest + text).split('\0');
      rest = messages.pop();
      for (const message of messages) browser.#heard(JSON.parse(message));
    });
    return browser;
  }

  #heard(message) {
    const call = this.#calls.get(message.id);
    if (call) {
      this.#calls.delete(message.id);
      if (message.error) call.reject(new Error(`${call.method}: ${message.error.message}`));
      else call.resolve(message.result);
    } else {
      for (const listener of this.#listeners) listener(message);
    }
  }

  #fail(error) {
    for (const call of this.#calls.values()) call.reject(error);
    this.#calls.clear();
  }

  send(method, params = {}, sessionId = undefined) {
    const id = this.#next++;
    const answer = new Promise((resolve, reject) => this.#calls.set(id, { method, resolve, reject }));
    this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return within(method, answer);
  }

  /** The next event of a tab for which `fits(method, params)` holds. */
  event(what, sessionId, fits) {
    let listener;
    const event = new Promise(resolve => {
      listener = message => {
        if (message.sessionId === sessionId && fits(message.method, message.params)) resolve(message.params);
      };
      this.#listeners.add(listener);
    });
    return within(what, event).finally(() => this.#listeners.delete(listener));
  }

  /** Calls `heard` with each event of a tab. */
  listen(sessionId, heard) {
    this.#listeners.add(message => {
      if (message.sessionId === sessionId) heard(message.method, message.params);
    });
  }

  /** A visitor: cookies and caches of his own, any number of tabs. */
  async visitor() {
    const { browserContextId } = await this.send('Target.createBrowserContext');
    return new Visitor(this, browserContextId);
  }

  async close() {
    const gone = new Promise(resolve => this.#child.once('exit', resolve));
    await this.send('Browser.close').catch(() => {});
    await within('the end of chromium', gone);
  }
}

class Visitor {
  constructor(browser, context) {
    Object.assign(this, { browser, context });
  }

  async tab() {
    const { targetId } = await this.browser.send('Target.createTarget', {
      url: 'about:blank', browserContextId: this.context,
    });
    const { sessionId } = await this.browser.send('Target.attachToTarget', { targetId, flatten: true });
    const tab = new Tab(this.browser, sessionId);
    await tab.send('Page.enable');
    return tab;
  }

  /** The cookie store as the browser itself sees it. */
  async cookies() {
    const { cookies } = await this.browser.send('Storage.getCookies', { browserContextId: this.context });
    return cookies;
  }

  leave() {
    return this.browser.send('Target.disposeBrowserContext', { browserContextId: this.context });
  }
}

class Tab {
  constructor(browser, session) {
    Object.assign(this, { browser, session });
  }

  send(method, params) {
    return this.browser.send(method, params, this.session);
  }

  /** Does something that leads to another page, and waits until that has loaded. */
  async leads(what, action) {
    const loaded = this.browser.event(`the page after ${what}`, this.session, name => name === 'Page.loadEventFired');
    const [, result] = await Promise.all([loaded, action()]);
    return result;
  }

  async goto(url) {
    const { errorText } = await this.leads(url, () => this.send('Page.navigate', { url }));
    if (errorText) throw new Error(`${url}: ${errorText}`);
  }

  /** Presses the back button. */
  async back() {
    const { currentIndex, entries } = await this.send('Page.getNavigationHistory');
    const { id: entryId } = entries[currentIndex - 1];
    // A page out of the back-forward cache is shown without loading.
    const shown = this.browser.event('the page before', this.session, (name, params) =>
      name === 'Page.frameNavigated' && !params.frame.parentId);
    const settled = this.browser.event('the page before', this.session, (name, params) =>
      name === 'Page.loadEventFired'
      || (name === 'Page.frameNavigated' && params.type === 'BackForwardCacheRestore'));
    await Promise.all([shown, settled, this.send('Page.navigateToHistoryEntry', { entryId })]);
  }

  /** The value of an expression in the page; a promise is awaited. */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', {
      expression, awaitPromise: true, returnByValue: true, userGesture: true,
    });
    if (exceptionDetails) {
      throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
    }
    return result.value;
  }

  text() {
    return this.evaluate('document.body.innerText');
  }
}

module.exports = { Chromium, within };
