'use strict';

module.exports = app => {
  const { router, controller: { shop, wire } } = app;
  router.get('/', shop.index);
  router.get('/whoami', shop.whoami);
  router.get('/login', shop.form);
  router.post('/login', shop.login);
  router.post('/logout', shop.logout);
  router.get('/account/', shop.account);
  router.post('/cart/add', shop.add);
  router.get('/cart', shop.cart);
  router.get('/healthz', wire.health);
  router.get('/slow', wire.slow);
  router.get('/set-cookies', wire.setCookies);
  router.get('/headers', wire.headers);
  router.post('/echo', wire.echo);
  router.get('/stream', wire.stream);
  router.get('/sse', wire.sse);
};
