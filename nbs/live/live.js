// Hears, paints, draws: the page's own thread
const $ = id => document.getElementById(id)
const STEADY = .6, QUICK = .02, SURE = .6, LISTEN = .25 // as in cargan.deploy.film and .listen
const MOST_SECONDS = 1200, MOST_BYTES = 120e6
const names = l => l.replaceAll('_', ' ')

let facts, worker, source, ears, last = {}, recorder
const waiting = new Map()
const live = window.live = {pictures: 0, delay: 0, infer, get facts() { return facts }}

// ---------------------------------------------------------------- loading

const say = text => { $('status').textContent = text }

async function fetched(url, size, told) { // an ArrayBuffer, with progress
  const got = await fetch(url)
  if (!got.ok) throw new Error(`${url} could not be loaded (${got.status}); load the page again`)
  const reader = got.body.getReader(), all = new Uint8Array(size)
  for (let at = 0; ;) {
    const {done, value} = await reader.read()
    if (done) return all.buffer
    all.set(value, at)
    told(value.length)
    at += value.length
  }
}

let loading
function load() { return loading ??= loadAll().catch(e => { loading = null; throw e }) }

async function loadAll() {
  const bar = $('progress'), sizes = facts.bytes
  const whole = sizes['model.onnx'] + sizes['ort/ort-wasm-simd-threaded.wasm']
  let come = 0
  bar.hidden = false
  say('Loading the network ...')
  const told = n => { bar.value = (come += n)/whole }
  try {
    const [model, wasm] = await Promise.all(['model.onnx', 'ort/ort-wasm-simd-threaded.wasm'].map(
      f => fetched(f, sizes[f], told)))
    worker = new Worker('worker.js', {type: 'module'})
    await new Promise((ready, fail) => {
      worker.onmessage = ({data}) => {
        if (data.ready) return ready()
        const [good, bad] = waiting.get(data.id) ?? [null, fail]
        waiting.delete(data.id)
        data.error ? bad(new Error(data.error)) : good(data.out)
      }
      worker.onerror = e => fail(new Error(e.message || 'the network did not start'))
      worker.postMessage({model, wasm}, [model, wasm])
    })
  } finally { bar.hidden = true }
}

let number = 0
function infer(wave, label) { // Float32Arrays of half a second, and of a one-hot or zeros
  return new Promise((good, bad) => {
    waiting.set(++number, [good, bad])
    worker.postMessage({id: number, wave, label})
  })
}

// ---------------------------------------------------------------- sounds

function resampled(x, ratio, n) { // the last n samples at a lower rate, band-limited
  const out = new Float32Array(n), cut = Math.min(1, 1/ratio), half = Math.ceil(16*Math.max(1, ratio))
  for (let i = 0; i < n; i++) {
    const at = x.length - 1 - (n - 1 - i)*ratio
    let sum = 0
    for (let k = Math.max(0, Math.ceil(at - half)); k <= Math.min(x.length - 1, at + half); k++) {
      const t = k - at, w = .5 + .5*Math.cos(Math.PI*t/half)
      sum += x[k]*w*(t ? Math.sin(Math.PI*t*cut)/(Math.PI*t) : cut)
    }
    out[i] = sum
  }
  return out
}

class Recorded { // a clip or a file, that plays
  constructor(buffer, name) {
    const {n, rate} = facts, channels = buffer.numberOfChannels
    this.wave = new Float32Array(buffer.length)
    for (let c = 0; c < channels; c++)
      buffer.getChannelData(c).forEach((v, i) => { this.wave[i] += v/channels })
    Object.assign(this, {buffer, name, n, rate})
  }
  async start() {
    this.context = new AudioContext()
    await this.context.resume()
    this.node = new AudioBufferSourceNode(this.context, {buffer: this.buffer})
    this.film = this.context.createMediaStreamDestination()
    this.node.connect(this.context.destination)
    this.node.connect(this.film)
    this.node.onended = () => { this.ended = true }
    this.begun = this.context.currentTime
    this.node.start()
  }
  window() { // the half second around what is heard now; null at the end
    const t = this.context.currentTime - this.begun - (this.context.outputLatency || 0)
    if (this.ended || t > this.buffer.duration) return null
    return this.at(Math.round(Math.max(0, t)*this.rate) - (this.n >> 1))
  }
  at(start) {
    const out = new Float32Array(this.n), room = Math.max(0, this.wave.length - this.n)
    const from = Math.min(Math.max(0, start), room)
    out.set(this.wave.subarray(from, from + this.n))
    return out
  }
  stop() { this.node?.stop(); this.context?.close() }
}

class Microphone {
  async start() {
    if (!navigator.mediaDevices?.getUserMedia)
      throw new Error('This page may use a microphone only over https; play a clip or take a file.')
    const asked = {echoCancellation: false, noiseSuppression: false, autoGainControl: false}
    this.stream = await navigator.mediaDevices.getUserMedia({audio: asked})
    try { // the rate of the network, where the browser converts
      this.context = new AudioContext({sampleRate: facts.rate})
      this.input = this.context.createMediaStreamSource(this.stream)
    } catch {
      this.context = new AudioContext()
      this.input = this.context.createMediaStreamSource(this.stream)
    }
    await this.context.resume()
    await this.context.audioWorklet.addModule('tap.js')
    const tap = new AudioWorkletNode(this.context, 'tap'), rate = this.context.sampleRate
    this.ratio = rate/facts.rate
    this.kept = new Float32Array(Math.ceil((facts.n + 64)*this.ratio))
    tap.port.onmessage = ({data}) => {
      this.kept.copyWithin(0, data.length)
      this.kept.set(data, this.kept.length - data.length)
      this.heard = true
    }
    this.film = this.context.createMediaStreamDestination()
    this.input.connect(tap)
    this.input.connect(this.film)
  }
  window() {
    if (this.ratio === 1) return this.kept.slice(-facts.n)
    return resampled(this.kept, this.ratio, facts.n)
  }
  stop() {
    this.stream?.getTracks().forEach(t => t.stop())
    this.context?.close()
  }
}

async function decoded(bytes, name) { // an AudioBuffer at the network's rate
  const context = new OfflineAudioContext(1, 1, facts.rate)
  try { return await context.decodeAudioData(bytes) }
  catch { throw new Error(`${name}: is no sound that this browser can read.`) }
}

// ---------------------------------------------------------------- hearing

const level = x => 10*Math.log10(Math.max(1e-12, x.reduce((s, v) => s + v*v, 0)/x.length))

function hear(logs, wave) { // what is said of the last second or so
  const k = facts.labels.length
  if (level(wave) > facts.silence_db)
    ears = ears ? ears.map((v, i) => v + LISTEN*(logs[i] - v)) : Float32Array.from(logs)
  if (!ears) return {text: 'silence', label: null}
  const top = Math.max(...ears), e = [...ears].map(v => Math.exp(v - top))
  const other = e[k]/e.reduce((a, b) => a + b), sum = e.slice(0, k).reduce((a, b) => a + b)
  const order = e.slice(0, k).map((v, i) => [v/sum, i]).sort((a, b) => b[0] - a[0])
  const [[p, i], [, j]] = order
  if (other > facts.limit) return {text: `no instrument I know (${Math.round(100*other)} %)`, other}
  const named = names(facts.labels[i])
  const text = p < SURE ? `not sure: ${named} or ${names(facts.labels[j])}` :
    `${named}, ${Math.round(100*p)} % sure`
  return {text, label: i}
}

function oneHot(i) {
  const x = new Float32Array(facts.labels.length)
  if (i !== null && i !== undefined) x[i] = 1
  return x
}

// ---------------------------------------------------------------- drawing

function steady(name, picture) { // as `Steady` in Python
  const was = last[name]
  let change = 0
  if (was) for (let i = 0; i < picture.length; i++) change += Math.abs(picture[i] - was[i])
  if (was && change/picture.length < QUICK)
    for (let i = 0; i < picture.length; i++) picture[i] = was[i] + STEADY*(picture[i] - was[i])
  last[name] = picture
  return picture
}

const scratch = document.createElement('canvas')
function paint(canvas, picture) { // [3, S, S] in [-1, 1]
  const s = facts.size, plane = s*s, data = new ImageData(s, s)
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) data.data[4*i + c] = 127.5*(picture[c*plane + i] + 1)
    data.data[4*i + 3] = 255
  }
  scratch.width = scratch.height = s
  scratch.getContext('2d').putImageData(data, 0, 0)
  const pen = canvas.getContext('2d')
  pen.imageSmoothingQuality = 'high'
  pen.drawImage(scratch, 0, 0, canvas.width, canvas.height)
}

function empty(canvas) {
  const pen = canvas.getContext('2d')
  pen.fillStyle = '#ededed'
  pen.fillRect(0, 0, canvas.width, canvas.height)
}

function scroll(lms, seconds) { // columns of [S, S], away from its edges, come in from the right
  const canvas = $('spectrum'), pen = canvas.getContext('2d'), s = facts.size
  const columns = Math.max(1, Math.min(s >> 1, Math.round(s*seconds/.5)))
  const first = (3*s >> 2) - columns
  pen.drawImage(canvas, -columns, 0)
  const data = pen.createImageData(columns, s)
  for (let y = 0; y < s; y++) for (let x = 0; x < columns; x++) {
    const v = (lms[(s - 1 - y)*s + first + x] + 1)/2, at = 4*(y*columns + x)
    data.data.set([255*Math.min(1, 1.6*v), 255*Math.max(0, 1.8*v*v - .5),
                   255*(v < .6 ? v : .9*v*v + .1), 255], at)
  }
  pen.putImageData(data, canvas.width - columns, 0)
}

function bars(residue) {
  const all = $('residue').querySelectorAll('i')
  residue.forEach((v, i) => {
    all[i].className = v < 0 ? 'minus' : ''
    all[i].style.left = `${v < 0 ? 100*v : 0}%`
    all[i].style.width = `${100*Math.abs(v)}%`
  })
}

function show(out, heard, chosen, seconds) {
  const label = chosen ?? heard.label, player = $('player')
  scroll(out.lms, seconds)
  if ($('heard').textContent !== heard.text) $('heard').textContent = heard.text
  if (label === undefined) {
    empty(player)
    empty($('stage1'))
    bars(new Float32Array(facts.labels.length))
    player.setAttribute('aria-label', 'an empty stage')
    last = {}
    return
  }
  paint(player, steady('two', out.stage2))
  paint($('stage1'), steady('one', out.stage1))
  bars(out.residue)
  player.setAttribute('aria-label', label === null ? 'a player who rests' :
    `a player with a ${names(facts.labels[label])}`)
}

// ---------------------------------------------------------------- the loop

async function begin(make) { // `make` gives a source
  stop()
  try {
    await load()
    const mine = source = await make()
    await mine.start()
    ears = null
    last = {}
    $('stop').disabled = $('record').disabled = false
    say(mine.name ? `Playing ${mine.name}.` : 'Listening to the microphone.')
    await run(mine)
    if (source === mine) stop('')
  } catch (e) { stop(because(e)) }
}

function because(e) {
  if (e.name === 'NotAllowedError')
    return 'The microphone was refused; allow it in the address bar, or play a clip.'
  if (e.name === 'NotFoundError') return 'There is no microphone here; play a clip or take a file.'
  return e.message || String(e)
}

async function run(mine) {
  let label = null, before = performance.now()
  while (source === mine) {
    const wave = mine.window()
    if (!wave) return
    const asked = performance.now(), value = $('label').value
    const chosen = value === '' ? null : Number(value)
    const out = await infer(wave, oneHot(chosen ?? label))
    if (source !== mine) return
    const heard = hear(out.logs, wave), now = performance.now()
    label = heard.label ?? null
    show(out, heard, chosen, (now - before)/1000)
    before = now
    live.pictures++
    live.delay = now - asked
    live.heard = heard
    await new Promise(requestAnimationFrame)
  }
}

function stop(text) {
  source?.stop()
  source = null
  if (recorder?.state === 'recording') recorder.stop()
  $('stop').disabled = $('record').disabled = true
  if (text !== undefined) say(text)
}

async function file(f) {
  await begin(async () => {
    if (f.size > MOST_BYTES)
      throw new Error(`${f.name}: is too large for a page; cargan-video takes files of any length.`)
    const buffer = await decoded(await f.arrayBuffer(), f.name)
    if (buffer.duration > MOST_SECONDS)
      throw new Error(`${f.name}: is longer than ${MOST_SECONDS/60} minutes; cargan-video takes ` +
                      'files of any length.')
    return new Recorded(buffer, f.name)
  })
}

function record() { // until it is pressed again, or the sound ends
  if (recorder?.state === 'recording') return recorder.stop()
  const pieces = [], stream = $('player').captureStream(25)
  source.film.stream.getAudioTracks().forEach(t => stream.addTrack(t))
  const type = ['video/mp4', 'video/webm'].find(t => MediaRecorder.isTypeSupported(t))
  recorder = new MediaRecorder(stream, {mimeType: type})
  recorder.ondataavailable = e => pieces.push(e.data)
  recorder.onstop = () => {
    const link = $('film')
    URL.revokeObjectURL(link.href)
    link.href = URL.createObjectURL(new Blob(pieces, {type}))
    link.download = `player.${type.split('/')[1]}`
    link.hidden = false
    $('record').textContent = 'Record a film'
  }
  recorder.start()
  $('record').textContent = 'End the film'
}

function ready() {
  for (const l of facts.labels) {
    const i = facts.labels.indexOf(l)
    $('label').add(new Option(names(l), i))
    const name = document.createElement('span'), bar = document.createElement('span')
    name.textContent = names(l)
    bar.className = 'bar'
    bar.append(document.createElement('i'))
    $('residue').append(name, bar)
  }
  for (const l of facts.clips) $('clip').add(new Option(names(l), l))
  if (facts.clips.includes('cello')) $('clip').value = 'cello'
  $('play').disabled = !facts.clips.length
  $('mic').onclick = () => begin(async () => new Microphone())
  $('play').onclick = () => {
    const l = $('clip').value
    begin(async () => {
      const got = await fetch(`clips/${l}.flac`)
      return new Recorded(await decoded(await got.arrayBuffer(), l), names(l))
    })
  }
  $('file').onchange = e => e.target.files[0] && file(e.target.files[0])
  $('stop').onclick = () => stop('Stopped.')
  $('record').onclick = record
  document.body.ondragover = e => { e.preventDefault(); document.body.classList.add('over') }
  document.body.ondragleave = () => document.body.classList.remove('over')
  document.body.ondrop = e => {
    e.preventDefault()
    document.body.classList.remove('over')
    if (e.dataTransfer.files[0]) file(e.dataTransfer.files[0])
  }
}

live.load = load
live.decoded = decoded
live.Recorded = Recorded
navigator.serviceWorker?.register('sw.js').catch(() => {})
facts = await (await fetch('model.json')).json()
ready()
