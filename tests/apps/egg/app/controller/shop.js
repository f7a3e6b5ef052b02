'use strict';

// What reads and writes the session, as Egg's manual shows it.

const { Controller } = require('egg');
const shared = require('../../../shared');

module.exports = class ShopController extends Controller {
  async index() {
    const { ctx } = this;
    if (ctx.query.touch === '1') ctx.session.views = (ctx.session.views || 0) + 1;
    const { user = null, views = 0, cart = [] } = ctx.session;
    ctx.body = { app: 'egg', worker: process.pid, user, views, cart };
  }

  async whoami() {
    this.ctx.body = { user: this.ctx.session.user || null, worker: process.pid };
  }

  async form() {
    const { ctx } = this;
    ctx.type = 'html';
    ctx.body = shared.LOGIN_FORM(process.env.CSRF === '1' ? ctx.csrf : '');
  }

  async login() {
    const { ctx } = this;
    const { username, password } = ctx.request.body;
    if (!username || password === 'wrong') {
      ctx.status = shared.failureStatus(ctx.query.failure);
      ctx.type = 'html';
      ctx.body = 'wrong password';
      return;
    }
    if (process.env.REGENERATE === '1') await ctx.session.regenerate();
    ctx.session.user = username;
    ctx.redirect(shared.nextPath(ctx.query.next));
  }

  async logout() {
    this.ctx.session = null;
    this.ctx.redirect('/');
  }

  async account() {
    const { ctx } = this;
    if (!ctx.session.user) return ctx.redirect('/login');
    ctx.type = 'html';
    ctx.body = `account of ${ctx.session.user}`;
  }

  async add() {
    const { ctx } = this;
    const cart = ctx.session.cart || [];
    await shared.sleep(shared.number(ctx.request.body.delay_ms || ctx.query.delay_ms, 0, 10_000));
    ctx.session.cart = [...cart, ctx.request.body.item];
    ctx.body = { cart: ctx.session.cart };
  }

  async cart() {
    this.ctx.body = { cart: this.ctx.session.cart || [], worker: process.pid };
  }
};
