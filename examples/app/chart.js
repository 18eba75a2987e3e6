/** Number of samples in a chart. The oldest and the newest slide out and in at the edges. */
const LENGTH = 60
const SECOND = 1000
const isStill = window.matchMedia('(prefers-reduced-motion: reduce)').matches

/** A line with a filled area below it. It moves to the left by one sample per second. */
export class Chart {
  #svg = svgElement('svg')
  #area = svgElement('path')
  #line = svgElement('path')

  constructor (plot) {
    this.#svg.setAttribute('viewBox', `0 0 ${LENGTH - 2} 1`)
    this.#svg.setAttribute('preserveAspectRatio', 'none')
    this.#svg.setAttribute('aria-hidden', 'true')
    this.#area.classList.add('area')
    this.#line.classList.add('line')
    this.#svg.append(this.#area, this.#line)
    plot.append(this.#svg)
  }

  /** Draws the samples. `ceiling` is the minimum value at the top of the chart. */
  draw (samples, ceiling) {
    const top = Math.max(ceiling, ...samples)
    const left = LENGTH - samples.length
    const line = curve(samples.map((value) => 0.97 - 0.91 * value / top), left)
    this.#line.setAttribute('d', line)
    this.#area.setAttribute('d', `${line}V1H${left}Z`)
    // the newest sample starts beyond the right edge and slides into view within a second
    const step = `translateX(${-100 / (LENGTH - 2)}%)`
    this.#svg.getAnimations().forEach((animation) => animation.cancel())
    this.#svg.animate({ transform: ['none', step] }, { duration: isStill ? 0 : SECOND, fill: 'forwards' })
  }
}

/** A smooth path through all points, without overshoot (monotone cubic interpolation, Fritsch and Carlson). */
function curve (ys, left) {
  const rise = ys.map((y, i) => (ys[i + 1] ?? y) - y)
  const slope = ys.map((_, i) => {
    const [before, after] = [rise[i - 1] ?? 0, rise[i]]
    return before * after <= 0 ? 0 : 2 * before * after / (before + after)
  })
  const path = ys.map((y, i) => {
    if (i === 0) return `M${left},${y.toFixed(4)}`
    const x = left + i
    const handles = `${(x - 2 / 3).toFixed(2)},${(ys[i - 1] + slope[i - 1] / 3).toFixed(4)} ${(x - 1 / 3).toFixed(2)},${(y - slope[i] / 3).toFixed(4)}`
    return `C${handles} ${x},${y.toFixed(4)}`
  })
  return path.join('')
}

function svgElement (name) {
  return document.createElementNS('http://www.w3.org/2000/svg', name)
}
