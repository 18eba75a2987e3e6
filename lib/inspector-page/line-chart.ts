import { h, setText, svg } from './dom.js'

/** Number of points of a chart: one per second for two minutes. */
const POINTS = 120
const WIDTH = 600
const HEIGHT = 96

/** A line chart of the last two minutes, with a text alternative. */
export class LineChart {
  readonly element: HTMLElement
  readonly #title: string
  readonly #format: (value: number) => string
  readonly #series: Array<{ name: string, points: number[], line: SVGPolylineElement, legend: HTMLElement }>
  readonly #svg: SVGSVGElement
  readonly #top = h('small')

  constructor (title: string, names: string[], format: (value: number) => string) {
    this.#title = title
    this.#format = format
    this.#series = names.map((name) => ({ name, points: [], line: svg('polyline'), legend: h('span') }))
    this.#svg = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}: no value yet` },
      ...[0, HEIGHT / 2, HEIGHT].map((y) => svg('line', { x1: 0, x2: WIDTH, y1: y, y2: y })),
      ...this.#series.map(({ line }) => line))
    this.element = h('figure', { class: 'chart card' },
      h('figcaption', {}, h('b', {}, title), ...this.#series.map(({ legend }) => legend)),
      this.#svg, this.#top)
  }

  /** Adds a point to each series. */
  add (...values: number[]): void {
    this.#series.forEach(({ points }, i) => {
      points.push(values[i]!)
      if (points.length > POINTS) points.shift()
    })
    const highest = Math.max(...this.#series.flatMap(({ points }) => points))
    const scale = ceiling(highest)
    const said: string[] = []
    for (const { name, points, line, legend } of this.#series) {
      const offset = POINTS - points.length
      line.setAttribute('points', points.map((value, i) => `${((i + offset) / (POINTS - 1) * WIDTH).toFixed(1)},${(HEIGHT - value / scale * HEIGHT).toFixed(1)}`).join(' '))
      const now = this.#format(points.at(-1)!)
      setText(legend, `${name} ${now}`)
      said.push(`${name}: now ${now}, at most ${this.#format(Math.max(...points))}`)
    }
    setText(this.#top, `two minutes, up to ${this.#format(scale)}`)
    this.#svg.setAttribute('aria-label', `${this.#title} in the last two minutes. ${said.join('. ')}`)
  }
}

/** The next round value above, so that the scale does not change with every point. */
function ceiling (value: number): number {
  if (value <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 5, 10].find((factor) => factor * power >= value) ?? 10) * power
}
