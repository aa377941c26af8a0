// Verifies a DeviceResponse with @auth0/mdl:
//   node mdl_verify.mjs PACKAGE_DIR NOW < {"response","transcript","key": hex, "anchors": [PEM]}
// It prints what it checked, one line each, and what it read.
import { pathToFileURL } from 'node:url'
import { join } from 'node:path'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const [dir, now] = process.argv.slice(2)
const at = Date.parse(now)
const RealDate = Date
globalThis.Date = class extends RealDate {
  constructor(...a) { if (a.length) super(...a); else super(at) }
  static now() { return at }
}
const require = createRequire(pathToFileURL(join(dir, 'x.js')))
const { Verifier, DataItem } = require('@auth0/mdl')
const input = JSON.parse(readFileSync(0, 'utf8'))
const bytes = (h) => Buffer.from(h, 'hex')
const verifier = new Verifier(input.anchors)
let failed = 0
const mdoc = await verifier.verify(bytes(input.response), {
  encodedSessionTranscript: bytes(input.transcript),
  ephemeralReaderKey: bytes(input.key),
  onCheck: (c) => {
    if (c.status !== 'PASSED') failed++
    console.log(`${c.status} ${c.check}${c.reason ? ': ' + c.reason : ''}`)
  },
})
for (const d of mdoc.documents) {
  for (const ns of d.issuerSignedNameSpaces) {
    console.log('READ', d.docType, Object.keys(d.getIssuerNameSpace(ns)).join(' '))
    console.log('NAME', d.getIssuerNameSpace(ns).family_name)
  }
}
process.exit(failed ? 1 : 0)
