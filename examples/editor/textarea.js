/** Keeps a textarea and a Y.Text in sync. */
export function bindTextarea (area, text) {
  const here = {}
  area.value = text.toString()
  area.addEventListener('input', () => {
    const [before, after] = [text.toString(), area.value]
    // typed text ends at the cursor, which shows which "a" is new when "aa" becomes "aaa"
    const most = Math.min(before.length, after.length - area.selectionEnd)
    let same = 0
    while (same < most && before.at(-1 - same) === after.at(-1 - same)) same++
    let start = 0
    while (start < Math.min(before.length, after.length) - same && before[start] === after[start]) start++
    // do not split surrogate pairs
    if (/[\uD800-\uDBFF]/.test(before[start - 1] ?? '')) start--
    if (/[\uDC00-\uDFFF]/.test(before[before.length - same] ?? '')) same--
    text.doc.transact(() => {
      text.delete(start, before.length - same - start)
      text.insert(start, after.slice(start, after.length - same))
    }, here)
  })
  text.observe(({ delta }, { origin }) => {
    if (origin === here) return
    let { selectionStart, selectionEnd } = area
    let index = 0
    for (const { retain = 0, insert = '', delete: removed = 0 } of delta) {
      index += retain
      const moved = (place) => place <= index ? place : Math.max(place - removed, index) + insert.length
      selectionStart = moved(selectionStart)
      selectionEnd = moved(selectionEnd)
      index += insert.length
    }
    area.value = text.toString()
    area.setSelectionRange(selectionStart, selectionEnd)
  })
}
