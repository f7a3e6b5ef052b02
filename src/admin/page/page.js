'use strict';
// The status page: asks the listener that it came from, every five seconds, and shows what it says.
// All text goes into text nodes, never into markup.

const EVERY_MS = 5000;
const TOKEN = 'cloakroom-token';
const SVG = 'http://www.w3.org/2000/svg';
const by = id => document.getElementById(id);

/** An element with attributes and children; texts become text nodes. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined).map(child => child instanceof Node ? child : String(child)));
  return element;
}

function drawn(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const whole = number => number === null || number === undefined ? '–' : number.toLocaleString('en', { maximumFractionDigits: 0 });
const short = number => number === null || number === undefined ? '–'
  : number.toLocaleString('en', { maximumFractionDigits: number < 10 ? 2 : number < 100 ? 1 : 0 });
const millis = number => number === null || number === undefined ? '–' : `${short(number)} ms`;
const percent = ratio => ratio === null || ratio === undefined ? '–' : `${short(ratio * 100)} %`;
const time = seconds => new Date(seconds * 1000).toISOString().slice(11, 19);
const date = seconds => new Date(seconds * 1000).toISOString().slice(0, 10);
function span(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  return days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${seconds} s`;
}

// ---- asking

/** Asks the listener; asks the operator for the token where one is wanted. */
async function ask(method, path, body) {
  const headers = {};
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (method !== 'GET') headers['Content-Type'] = 'application/json';
  const answer = await fetch(path, {
    method, headers, cache: 'no-store', credentials: 'omit', redirect: 'error',
    body: method === 'GET' ? undefined : JSON.stringify(body ?? {}),
  });
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  const problem = new Error(content.message || `the answer was ${answer.status}`);
  problem.status = answer.status;
  throw problem;
}

// ---- dialogs

let answered = null;

/** Shows the dialog; `act` is called with its fields once it is confirmed, and may throw what is then shown. */
function confirmed({ title, text, yes, fields = [], danger = true, act }) {
  by('ask-title').textContent = title;
  by('ask-text').textContent = text;
  by('ask-yes').textContent = yes;
  by('ask-yes').className = danger ? 'danger' : '';
  by('ask-fields').replaceChildren(...fields);
  by('ask-problem').hidden = true;
  answered = act;
  if (!by('ask').open) by('ask').showModal();
}

by('ask-no').addEventListener('click', () => by('ask').close());
by('ask-form').addEventListener('submit', async event => {
  event.preventDefault();
  const fields = Object.fromEntries(new FormData(by('ask-form')));
  by('ask-yes').disabled = true;
  by('main').setAttribute('aria-busy', 'true');
  try {
    await answered(fields);
    by('ask').close();
    await refresh();
  } catch (problem) {
    by('ask-problem').textContent = problem.message;
    by('ask-problem').hidden = false;
  } finally {
    by('ask-yes').disabled = false;
    by('main').removeAttribute('aria-busy');
  }
});

const field = (name, label, attributes = {}) => make('label', {}, label, make('input', { name, type: 'text', autocomplete: 'off', ...attributes }));
const choice = (value, label, checked) => make('label', { class: 'choice' },
  make('input', { type: 'radio', name: 'what', value, checked }), label);

function askForToken() {
  confirmed({
    title: 'Token', text: 'This listener asks for the token in the file that admin.token_file names. It is kept until this tab is closed.',
    yes: 'Go on', danger: false, fields: [field('token', 'Token', { type: 'password', required: true })],
    act: async ({ token }) => {
      sessionStorage.setItem(TOKEN, token.trim());
      try {
        await ask('GET', '/store');
      } catch (problem) {
        sessionStorage.removeItem(TOKEN);
        throw problem;
      }
    },
  });
}

by('reload').addEventListener('click', () => confirmed({
  title: 'Reload the configuration?', text: 'As HUP does. Requests under way keep what they began with.', yes: 'Reload', danger: false,
  act: () => ask('POST', '/reload'),
}));

by('revoke').addEventListener('click', () => confirmed({
  title: 'End sessions?', text: 'On every node, at once. Who has one must log in again.', yes: 'End sessions',
  fields: [
    choice('subject', 'All of one user', true), choice('session', 'One session', false), choice('all', 'Everybody’s', false),
    field('name', 'User, or the session’s X-Session-Id; for everybody’s write “everybody”', { required: true }),
  ],
  act: ({ what, name }) => {
    if (what === 'all' && name.trim() !== 'everybody') throw new Error('Write “everybody” to end all sessions.');
    return ask('POST', '/sessions/revoke', what === 'all' ? { all: true } : { [what]: name.trim() });
  },
}));

function change(verb, upstream, endpoint, text) {
  const order = { upstream, endpoint };
  confirmed({
    title: `${verb[0].toUpperCase()}${verb.slice(1)} ${endpoint}?`, text: `${text} (upstream ${upstream}, on this node, until it ends)`,
    yes: verb[0].toUpperCase() + verb.slice(1), danger: verb === 'remove',
    act: () => ask('POST', `/upstreams/${verb}`, order),
  });
}

function weigh(upstream, { address, weight }) {
  confirmed({
    title: `Weight of ${address}`, text: `Of upstream ${upstream}, on this node, until it ends.`, yes: 'Set', danger: false,
    fields: [field('weight', 'Weight', { type: 'number', min: 1, max: 65535, value: weight, required: true })],
    act: fields => ask('POST', '/upstreams/weight', { upstream, endpoint: address, weight: Number(fields.weight) }),
  });
}

function add(upstream) {
  confirmed({
    title: `Add an endpoint to ${upstream}`, text: 'On this node, until it ends.', yes: 'Add', danger: false,
    fields: [
      field('endpoint', 'Address', { placeholder: '127.0.0.1:7001', required: true }),
      field('weight', 'Weight', { type: 'number', min: 1, max: 65535, value: 1, required: true }),
    ],
    act: fields => ask('POST', '/upstreams/add', { upstream, endpoint: fields.endpoint.trim(), weight: Number(fields.weight) }),
  });
}

// ---- plots

/** A plot of lists over the same times. `lines`: label, class, values (null: nothing measured). */
function plot(title, unit, lines, at) {
  const values = lines.flatMap(line => line.values).filter(value => value !== null);
  const most = nice(Math.max(...values, 0));
  const latest = lines.map(line => `${line.label} ${unit(line.values.findLast(value => value !== null) ?? null)}`).join(', ');
  const picture = drawn('svg', { viewBox: '0 0 120 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}: ${latest}` });
  for (const y of [0, 50, 100]) picture.append(drawn('line', { class: 'grid', x1: 0, x2: 120, y1: y, y2: y }));
  const first = 120 - at.length;
  for (const line of lines) {
    // Where nothing was measured the line breaks.
    let stretch = [];
    const flush = () => {
      if (stretch.length === 1) stretch.push(stretch[0].replace(/^[\d.]+/, x => String(Number(x) + 0.6)));
      if (stretch.length) picture.append(drawn('polyline', { class: line.class, points: stretch.join(' ') }));
      stretch = [];
    };
    line.values.forEach((value, place) => {
      if (value === null) flush();
      else stretch.push(`${first + place + 0.5},${100 - value / most * 100}`);
    });
    flush();
  }
  const legend = make('span', { class: 'legend' }, ...lines.map(line => make('span', { class: line.class }, line.label)));
  return make('figure', {},
    make('figcaption', {}, make('h3', {}, title), lines.length > 1 ? legend : null),
    picture,
    make('div', { class: 'axis' }, make('span', {}, '10 minutes ago'), make('span', {}, `up to ${unit(most)}`), make('span', {}, 'now')));
}

/** The next round number. */
function nice(number) {
  if (!(number > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].find(step => step * power >= number) * power;
}

// ---- showing

const row = (cells, kind = 'td') => make('tr', {}, ...cells.map(cell => cell instanceof Node && /^T[DH]$/.test(cell.nodeName) ? cell : make(kind, {}, cell)));
const number = (content, kind = 'td') => make(kind, { class: 'number', scope: kind === 'th' ? 'col' : null }, content);
const heading = text => make('th', { scope: 'col' }, text);
const table = (caption, head, rows) => make('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
  make('table', {}, make('caption', {}, caption), make('thead', {}, row(head, 'th')), make('tbody', {}, ...rows)));
const pairs = (caption, entries) => make('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
  make('table', {}, make('caption', {}, caption), make('tbody', {}, ...entries.map(([name, value]) =>
    make('tr', {}, make('th', { scope: 'row' }, name), number(value))))));

function showState(status) {
  const kind = status.ready ? status.reasons.length ? 'warn' : 'good' : 'bad';
  by('state').className = kind;
  by('state-text').textContent = [status.ready ? 'ready' : 'not ready', ...status.reasons].join(' · ');
  by('about').textContent = `node ${status.node} · version ${status.version} · up ${span(status.uptime_seconds)}`;
}

function showTiles({ requests, sessions, store, history }) {
  const last = list => list.length ? list[list.length - 1] : null;
  const active = Object.values(sessions.active).reduce((sum, one) => sum + one, 0);
  const tiles = [
    ['Requests/s', short(last(history.requests_per_second))],
    ['Errors/s (5xx)', short(last(history.server_errors_per_second))],
    ['Latency p99', millis(last(history.latency_p99_ms))],
    ['Under way', whole(requests.under_way)],
    ['Connections', whole(requests.connections)],
    ['Sessions in use', whole(active)],
    ['Store p99', millis(last(history.store_p99_ms))],
    ['Cache hits', percent(store.cache.hit_ratio)],
  ];
  by('tiles').replaceChildren(...tiles.map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', {}, value))));
}

function showPlots({ history }) {
  const perSecond = value => `${short(value)}/s`;
  const line = (label, style, values) => ({ label, class: `line-${style}`, values });
  by('plots').replaceChildren(
    plot('Requests', perSecond, [line('requests', 'one', history.requests_per_second)], history.at),
    plot('Errors', perSecond, [
      line('5xx', 'two', history.server_errors_per_second), line('4xx', 'three', history.client_errors_per_second),
    ], history.at),
    plot('Latency', millis, [line('p50', 'one', history.latency_p50_ms), line('p99', 'two', history.latency_p99_ms)], history.at),
    plot('Store latency', millis, [line('p50', 'one', history.store_p50_ms), line('p99', 'two', history.store_p99_ms)], history.at),
    plot('Cache hits', percent, [line('hits', 'one', history.cache_hit_ratio)], history.at),
    plot('Logins and rejected tickets', whole, [
      line('logins', 'one', history.logins), line('failed', 'three', history.logins_failed), line('rejected', 'two', history.tickets_rejected),
    ], history.at),
  );
}

const STATES = { up: 'good', draining: 'warn', failed: 'bad', unhealthy: 'bad', down: 'bad' };

function showUpstreams({ upstreams }) {
  const button = (verb, label, act) => make('button', { type: 'button', 'data-verb': verb, 'aria-label': label, onclick: act }, verb);
  const shown = upstreams.map(upstream => {
    const { name } = upstream;
    const rows = upstream.endpoints.map(endpoint => {
      const { address, state } = endpoint;
      const order = (verb, text) => button(verb, `${verb} ${address}`, () => change(verb, name, address, text));
      const verb = state === 'up' ? order('drain', 'It gets no new clients; who is sticky to it stays.')
        : order('enable', 'It is asked again.');
      const actions = make('div', { class: 'actions' }, verb, button('weight', `weight of ${address}`, () => weigh(name, endpoint)),
        order('remove', 'Requests that it has are finished.'));
      const label = make('span', { class: STATES[state] }, state);
      const limit = endpoint.max_conns ? ` of ${whole(endpoint.max_conns)}` : '';
      return row([`${address}${endpoint.server === address ? '' : ` (${endpoint.server})`}${endpoint.backup ? ' · backup' : ''}`, label,
        number(endpoint.weight), number(`${whole(endpoint.requests)}${limit}`), number(endpoint.fails), actions]);
    });
    const warning = upstream.takes_requests ? null : make('p', { class: 'bad' }, 'No endpoint takes new clients.');
    return make('div', {}, table(`${name} (${upstream.balance}${upstream.checked ? ', checked' : ''})`,
      [heading('Endpoint'), heading('State'), number('Weight', 'th'), number('Under way', 'th'), number('Failed', 'th'), heading('Orders')], rows),
    warning, make('p', {}, button('add', `add an endpoint to ${name}`, () => add(name))));
  });
  by('upstreams').replaceChildren(...shown.length ? shown : [make('p', { class: 'quiet' }, 'None.')]);
}

function showSessions({ sessions }) {
  const active = Object.entries(sessions.active).map(([policy, count]) => [policy, whole(count)]);
  const rejected = Object.entries(sessions.tickets_rejected).filter(([, count]) => count > 0);
  by('sessions').replaceChildren(
    pairs('In use by policy, about', active.length ? active : [['no policy', '–']]),
    pairs('Since the start', [
      ['created', whole(sessions.created)], ['ended', whole(sessions.ended)], ['logins', whole(sessions.logins)],
      ['failed logins', whole(sessions.logins_failed)], ['logouts', whole(sessions.logouts)], ['streams open', whole(sessions.streams)],
    ]),
    pairs('Rejected tickets', rejected.length ? rejected.map(([reason, count]) => [reason.replaceAll('_', ' '), whole(count)]) : [['none', '0']]),
  );
}

function showStore({ store }) {
  const state = store.answers === null ? 'not reached yet' : store.answers ? 'answers' : 'does not answer';
  const kind = store.answers === null ? 'warn' : store.answers ? 'good' : 'bad';
  by('store').replaceChildren(
    pairs(`Store (${store.engine})`, [
      ['state', make('span', { class: kind }, state)], ['calls', whole(store.calls)], ['unanswered', whole(store.unavailable)],
      ['p50', millis(store.latency_p50_ms)], ['p99', millis(store.latency_p99_ms)],
      ['clock ahead', store.clock_ahead_ms === null ? '–' : `${whole(store.clock_ahead_ms)} ms`],
    ]),
    pairs('Cache', [
      ['hits', whole(store.cache.hits)], ['misses', whole(store.cache.misses)], ['hit rate', percent(store.cache.hit_ratio)],
      ['records', whole(store.cache.entries)],
    ]),
  );
}

function showCertificates({ certificates }) {
  const rows = certificates.map(one => {
    const kind = one.days_left < 7 ? 'bad' : one.days_left < 21 ? 'warn' : 'good';
    return row([one.names.join(', ') || '–', one.listener, date(one.not_after), make('td', { class: `number ${kind}` }, whole(one.days_left))]);
  });
  by('certificates').replaceChildren(rows.length
    ? table('What listeners show', [heading('Names'), heading('Listener'), heading('Until'), number('Days left', 'th')], rows)
    : make('p', { class: 'quiet' }, 'No listener speaks TLS.'));
}

function showEvents({ events }) {
  const rows = events.toReversed().map(one => row([time(one.at), one.event.replaceAll('_', ' '), one.policy ?? '', one.subject ?? '',
    one.session ?? '', one.client ?? '', one.about ?? '']));
  by('events').replaceChildren(rows.length
    ? table('The last events (UTC)', ['Time', 'Event', 'Policy', 'User', 'Session', 'Client', 'About'].map(heading), rows)
    : make('p', { class: 'quiet' }, 'Nothing has happened yet.'));
}

/** Keeps the focus where it was, though what had it was made anew. */
function keepingFocus(show) {
  const label = document.activeElement?.getAttribute('aria-label');
  const left = [...document.querySelectorAll('.scroll')].map(one => [one.getAttribute('aria-label'), one.scrollLeft]);
  const top = by('events').scrollTop;
  show();
  by('events').scrollTop = top;
  for (const [name, x] of left) {
    const same = x && [...document.querySelectorAll('.scroll')].find(one => one.getAttribute('aria-label') === name);
    if (same) same.scrollLeft = x;
  }
  if (label && document.activeElement === document.body) {
    [...document.querySelectorAll('[aria-label]')].find(one => one.getAttribute('aria-label') === label)?.focus();
  }
}

async function refresh() {
  try {
    const status = await ask('GET', '/status');
    keepingFocus(() => [showState, showTiles, showPlots, showUpstreams, showSessions, showStore, showCertificates, showEvents]
      .forEach(show => show(status)));
    by('problem').hidden = true;
    document.body.dataset.shown = status.now;
  } catch (problem) {
    by('problem').textContent = `What is shown may be old: ${problem.message}`;
    by('problem').hidden = false;
    if (problem.status === 401 && !by('ask').open) askForToken();
  }
}

(async () => {
  for (;;) {
    await refresh();
    await new Promise(resolve => setTimeout(resolve, EVERY_MS));
  }
})();
