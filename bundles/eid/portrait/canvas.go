package portrait

import "image"

// Everything is drawn with whole numbers, so that the picture is the same octets on
// every machine and in WebAssembly. Coordinates of paths are in sixteenths of a pixel.
const unit = 16

// rgb is a colour.
type rgb struct{ r, g, b int }

func (c rgb) mix(d rgb, part, of int) rgb {
	m := func(a, b int) int { return a + (b-a)*part/of }
	return rgb{m(c.r, d.r), m(c.g, d.g), m(c.b, d.b)}
}

// canvas is a picture with a mask that paths are collected in.
type canvas struct {
	img  *image.RGBA
	w, h int
	mask []int32 // coverage of each pixel, 0 to full
	xs   []int   // crossings of one line
}

// full is the coverage of a whole pixel: four lines of sixteen.
const full = 4 * unit

func newCanvas(w, h int) *canvas {
	return &canvas{img: image.NewRGBA(image.Rect(0, 0, w, h)), w: w, h: h, mask: make([]int32, w*h)}
}

func (c *canvas) set(x, y int, v rgb) {
	p := c.img.Pix[c.img.PixOffset(x, y):]
	p[0], p[1], p[2], p[3] = byte(v.r), byte(v.g), byte(v.b), 255
}

func (c *canvas) at(x, y int) rgb {
	p := c.img.Pix[c.img.PixOffset(x, y):]
	return rgb{int(p[0]), int(p[1]), int(p[2])}
}

// path is a closed line.
type path []struct{ x, y int }

func (p *path) to(x, y int) { *p = append(*p, struct{ x, y int }{x, y}) }

// curve goes to an end point along a quadratic Bézier curve.
func (p *path) curve(cx, cy, x, y int) {
	a := (*p)[len(*p)-1]
	const n = 12
	for i := 1; i <= n; i++ {
		j := n - i
		p.to((j*j*a.x+2*i*j*cx+i*i*x)/(n*n), (j*j*a.y+2*i*j*cy+i*i*y)/(n*n))
	}
}

// shape makes a path of points in pixels: the first is where it begins, then pairs of a
// control point and an end point.
func shape(points ...int) path {
	var p path
	p.to(points[0]*unit, points[1]*unit)
	for i := 2; i+3 < len(points); i += 4 {
		p.curve(points[i]*unit, points[i+1]*unit, points[i+2]*unit, points[i+3]*unit)
	}
	return p
}

// ellipse is eight arcs around a centre in pixels.
func ellipse(cx, cy, rx, ry int) path {
	// Of an eighth of a circle: where it ends, and where its control point is.
	const one, s, t = 65536, 46341, 27146 // 1, sin 45°, tan 22.5°
	arc := [...][4]int{
		{one, t, s, s}, {t, one, 0, one}, {-t, one, -s, s}, {-one, t, -one, 0},
		{-one, -t, -s, -s}, {-t, -one, 0, -one}, {t, -one, s, -s}, {one, -t, one, 0},
	}
	var p path
	p.to((cx+rx)*unit, cy*unit)
	for _, a := range arc {
		p.curve(cx*unit+a[0]*rx*unit/one, cy*unit+a[1]*ry*unit/one, cx*unit+a[2]*rx*unit/one, cy*unit+a[3]*ry*unit/one)
	}
	return p
}

// stroke is a line of a thickness, in sixteenths, along a curve of points in pixels.
func (c *canvas) stroke(thick int, v rgb, points ...int) {
	p := shape(points...)
	for i := 1; i < len(p); i++ {
		a, b := p[i-1], p[i]
		dx, dy := b.x-a.x, b.y-a.y
		n := isqrt(dx*dx + dy*dy)
		if n == 0 {
			continue
		}
		ox, oy := -dy*thick/(2*n), dx*thick/(2*n)
		var q path
		q.to(a.x+ox, a.y+oy)
		q.to(b.x+ox, b.y+oy)
		q.to(b.x-ox, b.y-oy)
		q.to(a.x-ox, a.y-oy)
		c.fill(q, v, 256)
		if thick > 2*unit { // a round joint
			e := ellipse(0, 0, thick, thick)
			for j := range e {
				e[j].x, e[j].y = b.x+e[j].x/(2*unit), b.y+e[j].y/(2*unit)
			}
			c.fill(e, v, 256)
		}
	}
}

func isqrt(n int) int {
	x := n
	for y := (x + 1) / 2; y < x; y = (x + n/x) / 2 {
		x = y
	}
	return x
}

// fill paints the inside of a path; alpha 256 is opaque.
func (c *canvas) fill(p path, v rgb, alpha int) {
	c.paint(p, func(int, int) (rgb, int) { return v, alpha })
}

// paint gives each pixel inside of a path a colour of its own.
func (c *canvas) paint(p path, colour func(x, y int) (rgb, int)) {
	x0, y0, x1, y1 := c.w*unit, c.h*unit, 0, 0
	for _, q := range p {
		x0, y0, x1, y1 = min(x0, q.x), min(y0, q.y), max(x1, q.x), max(y1, q.y)
	}
	x0, y0 = max(x0/unit, 0), max(y0/unit, 0)
	x1, y1 = min(x1/unit+1, c.w), min(y1/unit+1, c.h)
	for y := y0; y < y1; y++ {
		for line := range 4 {
			c.cross(p, y*unit+line*unit/4+unit/8)
			for i := 0; i+1 < len(c.xs); i += 2 {
				c.span(y, max(c.xs[i], 0), min(c.xs[i+1], c.w*unit))
			}
		}
		for x := x0; x < x1; x++ {
			m := int(c.mask[y*c.w+x])
			if m == 0 {
				continue
			}
			c.mask[y*c.w+x] = 0
			v, alpha := colour(x, y)
			c.set(x, y, c.at(x, y).mix(v, min(m, full)*alpha, full*256))
		}
	}
}

// cross finds where a path crosses a line, in ascending order.
func (c *canvas) cross(p path, y int) {
	c.xs = c.xs[:0]
	for i := range p {
		a, b := p[i], p[(i+1)%len(p)]
		if (a.y <= y) == (b.y <= y) {
			continue
		}
		x := a.x + (b.x-a.x)*(y-a.y)/(b.y-a.y)
		at := len(c.xs)
		c.xs = append(c.xs, x)
		for ; at > 0 && c.xs[at-1] > x; at-- {
			c.xs[at], c.xs[at-1] = c.xs[at-1], x
		}
	}
}

// span adds coverage from x0 to x1, in sixteenths, of one quarter of line y.
func (c *canvas) span(y, x0, x1 int) {
	if x0 >= x1 {
		return
	}
	row := c.mask[y*c.w : (y+1)*c.w]
	first, last := x0/unit, (x1-1)/unit
	if first == last {
		row[first] += int32(x1 - x0)
		return
	}
	row[first] += int32((first+1)*unit - x0)
	for x := first + 1; x < last; x++ {
		row[x] += unit
	}
	row[last] += int32(x1 - last*unit)
}

// glow is a soft spot: strongest in the middle, nothing at the edge of its ellipse.
func (c *canvas) glow(cx, cy, rx, ry int, v rgb, alpha int) {
	for y := max(cy-ry, 0); y < min(cy+ry, c.h); y++ {
		for x := max(cx-rx, 0); x < min(cx+rx, c.w); x++ {
			d := 1024 - ((x-cx)*(x-cx)*1024/(rx*rx) + (y-cy)*(y-cy)*1024/(ry*ry))
			if d > 0 {
				c.set(x, y, c.at(x, y).mix(v, d*d/1024*alpha, 1024*256))
			}
		}
	}
}
