// Runs harness.py under MicroPython's WebAssembly port: node run.mjs PACKAGE FILE...
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const [dir, ...files] = process.argv.slice(2)
const { loadMicroPython } = await import(pathToFileURL(join(dir, 'micropython.mjs')).href)
const mp = await loadMicroPython({ heapsize: 512 * 1024 })
for (const f of files) mp.FS.writeFile('/' + basename(f), readFileSync(f))
mp.runPython("import sys\nsys.path.insert(0, '/')\nassert sys.implementation.name == 'micropython'\nimport harness")
const turn = mp.globals.get('harness').turn
for await (const line of createInterface({ input: process.stdin })) process.stdout.write(turn(line))
