'use strict';

// What has to do with the wire alone; none of it touches the session.

const { Controller } = require('egg');
const shared = require('../../../shared');

module.exports = class WireController extends Controller {
  async health() {
    this.ctx.body = 'ok';
  }

  async slow() {
    await shared.sleep(shared.number(this.ctx.query.ms, 0, 60_000));
    this.ctx.body = { slept: true, worker: process.pid };
  }

  async setCookies() {
    this.ctx.set('Set-Cookie', shared.ODD_COOKIES);
    this.ctx.type = 'json';
    this.ctx.body = shared.ODD_BODY;
  }

  async headers() {
    const { ctx } = this;
    ctx.body = { ...shared.received(ctx.req), secure: ctx.secure, ip: ctx.ip, host: ctx.host };
  }

  async echo() {
    const { ctx } = this;
    ctx.type = ctx.get('content-type') || 'application/octet-stream';
    ctx.body = ctx.req;
  }

  async stream() {
    const { ctx } = this;
    ctx.type = 'text/plain';
    ctx.body = shared.lines(shared.number(ctx.query.n, 5, 1e6), shared.number(ctx.query.every_ms, 50, 60_000));
  }

  async sse() {
    const { ctx } = this;
    ctx.type = 'text/event-stream';
    ctx.set('Cache-Control', 'no-cache');
    ctx.body = shared.events(shared.number(ctx.query.n, 1e6, 1e6), shared.number(ctx.query.every_ms, 1000, 60_000));
  }
};
