// The network, in a thread of its own
import * as ort from './ort/ort.wasm.min.mjs'

ort.env.logLevel = 'error'
ort.env.wasm.numThreads = 1 // more would need headers that not every server can send
ort.env.wasm.wasmPaths = new URL('./ort/', import.meta.url).href
const wanted = ['logs', 'lms', 'stage1', 'residue', 'stage2']
let session

onmessage = async ({data}) => {
  try {
    if (data.model) {
      ort.env.wasm.wasmBinary = data.wasm
      session = await ort.InferenceSession.create(data.model,
        {executionProviders: ['wasm'], logSeverityLevel: 3})
      return postMessage({ready: true})
    }
    const {id, wave, label} = data
    const made = await session.run({wave: new ort.Tensor('float32', wave, [1, wave.length]),
                                    label: new ort.Tensor('float32', label, [1, label.length])})
    const out = Object.fromEntries(wanted.map(k => [k, made[k].data]))
    postMessage({id, out}, Object.values(out).map(a => a.buffer))
  } catch (e) { postMessage({id: data.id, error: String(e.message || e)}) }
}
