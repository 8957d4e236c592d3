// What was loaded once is there without a network, too
const NAME = 'cargan-live-VERSION'

self.addEventListener('install', () => self.skipWaiting())
self.addEventListener('activate', e => e.waitUntil((async () => {
  for (const k of await caches.keys()) if (k.startsWith('cargan-live-') && k !== NAME) await caches.delete(k)
  await self.clients.claim()
})()))
self.addEventListener('fetch', e => {
  if (e.request.method !== 'GET' || new URL(e.request.url).origin !== location.origin) return
  e.respondWith((async () => {
    const kept = await caches.match(e.request, {cacheName: NAME, ignoreSearch: true})
    if (kept) return kept
    const got = await fetch(e.request)
    if (got.ok && got.status === 200) await (await caches.open(NAME)).put(e.request, got.clone())
    return got
  })())
})
