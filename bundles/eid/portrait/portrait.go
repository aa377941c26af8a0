// Package portrait draws what a travel document shows of its holder: a face, a signature
// and a finger. Nobody is like them; they are drawings, by code, and say so.
//
//	seed, sex ──> New ──> Portrait ──> JPEG      data groups 2 and 5
//	seed ───────> Signature, Finger ──> JPEG     data groups 7 and 3
//
// The same seed gives the same octets everywhere, also in WebAssembly.
//
// Sources: the size is that of a passport photograph of 35 by 45 mm at 300 pixels an
// inch (Doc 9303-3 3.9, ISO/IEC 19794-5:2005).
package portrait

import (
	"bytes"
	"crypto/sha256"
	"image"
	"image/jpeg"
)

// Size of a portrait in pixels.
const (
	Width  = 413
	Height = 531
)

// Portrait is a face that is not drawn yet.
type Portrait struct {
	Eyes, Hair byte // colours in the codes of ISO/IEC 19794-5:2005 5.5.4, 5.5.5

	skin, hair, eyes, clothes, back rgb
	style                           int
}

// Where the eyes are, in pixels: of the person's right and left one.
const (
	RightEyeX, RightEyeY = 163, 236
	LeftEyeX, LeftEyeY   = 251, 236
)

// coded is a colour with its code in a face record.
type coded struct {
	code byte
	rgb
}

var (
	skins = []rgb{{246, 214, 190}, {236, 192, 160}, {214, 162, 124}, {176, 122, 86}, {132, 88, 62}, {250, 224, 204}}
	hairs = []coded{{2, rgb{44, 38, 40}}, {3, rgb{222, 184, 112}}, {4, rgb{110, 72, 46}}, {5, rgb{158, 156, 158}}, {7, rgb{176, 82, 44}}, {4, rgb{78, 52, 38}}}
	eyes  = []coded{{2, rgb{74, 124, 176}}, {3, rgb{104, 68, 40}}, {4, rgb{116, 130, 140}}, {5, rgb{82, 130, 84}}}
	cloth = []rgb{{52, 76, 112}, {120, 52, 66}, {44, 96, 88}, {88, 72, 116}, {72, 80, 90}, {156, 96, 52}}
	backs = []rgb{{226, 234, 240}, {234, 234, 228}, {228, 238, 232}, {236, 230, 238}}
)

const (
	styleLong = iota
	styleBun
	styleShort
)

// New chooses colours and hair from seed; sex is "F", "M" or "".
func New(seed []byte, sex string) *Portrait {
	h := sha256.Sum256(append([]byte("portrait\x00"), seed...))
	hair, eye := hairs[int(h[1])%len(hairs)], eyes[int(h[2])%len(eyes)]
	p := &Portrait{
		Eyes: eye.code, Hair: hair.code, skin: skins[int(h[0])%len(skins)], hair: hair.rgb, eyes: eye.rgb,
		clothes: cloth[int(h[3])%len(cloth)], back: backs[int(h[4])%len(backs)],
	}
	switch sex {
	case "F":
		p.style = int(h[5]) % 2
	case "M":
		p.style = styleShort
	default:
		p.style = int(h[5]) % 3
	}
	return p
}

// Draw draws the face.
func (p *Portrait) Draw() *image.RGBA {
	c := newCanvas(Width, Height)
	p.background(c)
	dark := p.skin.mix(rgb{90, 40, 30}, 1, 4)
	shade := p.hair.mix(rgb{0, 0, 0}, 1, 3)
	shine := p.hair.mix(rgb{255, 250, 240}, 1, 4)

	// Hair behind the head.
	switch p.style {
	case styleLong:
		c.fill(shape(207, 84, 78, 84, 78, 250, 78, 350, 64, 440, 70, 452, 116, 462, 207, 462, 298, 462, 344, 452, 350, 440, 336, 350, 336, 250, 336, 84, 207, 84), shade, 256)
	case styleBun:
		c.fill(ellipse(207, 86, 52, 46), shade, 256)
		c.fill(ellipse(207, 82, 44, 38), p.hair, 256)
		c.stroke(3*unit, shade, 176, 70, 207, 100, 240, 66)
		c.fill(ellipse(207, 200, 124, 112), shade, 256)
	default:
		c.fill(ellipse(207, 196, 122, 108), shade, 256)
	}

	// Shoulders, neck, collar.
	c.paint(shape(18, 531, 26, 452, 110, 428, 168, 410, 207, 410, 246, 410, 304, 428, 388, 452, 396, 531, 207, 531, 18, 531), func(x, y int) (rgb, int) {
		return p.clothes.mix(rgb{0, 0, 0}, max(y-420, 0)+abs(x-207)/3, 520), 256
	})
	c.paint(shape(160, 340, 166, 400, 146, 424, 170, 470, 207, 478, 244, 470, 268, 424, 248, 400, 254, 340, 207, 340, 160, 340), func(x, y int) (rgb, int) {
		return p.skin.mix(dark, 200+max(424-y, 0)*10, 1000), 256
	})
	collar := p.clothes.mix(rgb{255, 255, 255}, 1, 6)
	c.fill(shape(146, 414, 150, 450, 207, 500, 170, 500, 150, 486, 128, 456, 128, 426, 136, 418, 146, 414), collar, 256)
	c.fill(shape(268, 414, 264, 450, 207, 500, 244, 500, 264, 486, 286, 456, 286, 426, 278, 418, 268, 414), collar, 256)
	c.stroke(20, p.clothes.mix(rgb{0, 0, 0}, 1, 3), 207, 500, 207, 516, 207, 531)

	// Ears.
	for _, x := range []int{102, 312} {
		c.fill(ellipse(x, 248, 16, 28), p.skin.mix(dark, 1, 4), 256)
		c.fill(ellipse(x, 248, 9, 17), p.skin.mix(dark, 2, 3), 160)
	}

	// Face: forehead, cheeks, chin; light falls from the left.
	face := shape(207, 120, 300, 120, 306, 224, 306, 300, 262, 352, 232, 384, 207, 384, 182, 384, 152, 352, 108, 300, 108, 224, 114, 120, 207, 120)
	c.paint(face, func(x, y int) (rgb, int) { return p.skin.mix(dark, max(x-190, 0)+max(y-250, 0)/2, 700), 256 })
	blush := rgb{226, 110, 100}
	c.glow(146, 292, 42, 30, blush, 60)
	c.glow(268, 292, 42, 30, blush, 60)
	c.glow(180, 170, 70, 46, rgb{255, 250, 240}, 60)

	// Nose.
	c.glow(214, 290, 28, 26, dark, 90)
	c.stroke(30, dark, 215, 232, 216, 268, 224, 290)
	c.stroke(40, dark, 188, 298, 196, 308, 207, 304, 218, 308, 226, 298)

	// Mouth.
	red := 3
	if p.style == styleShort {
		red = 1
	}
	lip := p.skin.mix(rgb{176, 56, 64}, red, 5)
	c.fill(shape(168, 334, 188, 324, 200, 328, 207, 332, 214, 328, 226, 324, 246, 334, 226, 356, 207, 356, 188, 356, 168, 334), lip, 256)
	c.stroke(36, lip.mix(rgb{70, 16, 24}, 1, 2), 164, 332, 186, 342, 207, 338, 228, 342, 250, 332)
	c.glow(204, 348, 22, 6, rgb{255, 255, 255}, 70)
	c.glow(207, 366, 30, 8, dark, 70)

	for _, x := range []int{RightEyeX, LeftEyeX} {
		p.eye(c, x, shade)
	}

	// Hair over the forehead.
	switch p.style {
	case styleLong:
		c.fill(shape(182, 108, 116, 122, 108, 232, 100, 300, 112, 340, 92, 310, 84, 250, 84, 92, 200, 92, 182, 96, 182, 108), p.hair, 256)
		c.fill(shape(182, 108, 270, 132, 304, 232, 312, 300, 302, 340, 322, 310, 330, 250, 326, 92, 200, 92, 182, 96, 182, 108), p.hair, 256)
		c.stroke(40, shine, 150, 128, 112, 170, 104, 250)
		c.stroke(40, shine, 230, 116, 286, 140, 312, 232)
		c.stroke(28, shade, 182, 96, 184, 104, 182, 112)
	case styleBun:
		c.fill(shape(207, 124, 140, 128, 108, 226, 92, 250, 90, 214, 92, 92, 207, 92, 322, 92, 324, 214, 322, 250, 306, 226, 274, 128, 207, 124), p.hair, 256)
		for i := -2; i <= 2; i++ {
			c.stroke(22, shine, 207+i*44, 128+abs(i)*16, 207+i*26, 108, 207+i*12, 98)
		}
	default:
		c.fill(shape(110, 232, 96, 200, 92, 216, 84, 110, 190, 92, 300, 78, 322, 200, 322, 230, 304, 234, 304, 180, 276, 150, 226, 166, 170, 150, 130, 158, 118, 190, 116, 214, 110, 232), p.hair, 256)
		for i := range 5 {
			c.stroke(24, shine, 130+i*34, 152+(i%2)*4, 146+i*32, 122, 176+i*24, 104)
		}
	}
	c.word("SPECIMEN", 122, 514, 3, p.clothes.mix(rgb{255, 255, 255}, 1, 2))
	return c.img
}

func abs(n int) int { return max(n, -n) }

// background is a light surface with the rings of security printing.
func (p *Portrait) background(c *canvas) {
	for y := range c.h {
		for x := range c.w {
			c.set(x, y, p.back.mix(rgb{180, 194, 206}, y+abs(x-207)/2, 1600))
		}
	}
	line := p.back.mix(p.clothes, 1, 4)
	for _, centre := range [2]struct{ x, y, r, step int }{{-60, 180, 90, 42}, {474, 300, 90, 42}} {
		for r := centre.r; r < 640; r += centre.step {
			for y := range c.h {
				dy := y - centre.y
				if dy*dy >= r*r {
					continue
				}
				dx := isqrt((r*r - dy*dy) * unit * unit)
				if centre.x > 0 {
					dx = -dx
				}
				x := centre.x*unit + dx - unit/2
				if i := x / unit; x >= 0 && i+1 < c.w {
					c.set(i, y, c.at(i, y).mix(line, unit-x%unit, 3*unit))
					c.set(i+1, y, c.at(i+1, y).mix(line, x%unit, 3*unit))
				}
			}
		}
	}
}

func (p *Portrait) eye(c *canvas, x int, brow rgb) {
	y := RightEyeY
	c.glow(x, y-4, 40, 26, p.skin.mix(rgb{80, 40, 50}, 1, 2), 90)
	white := shape(x-30, y+2, x-14, y-16, x, y-16, x+14, y-16, x+30, y+2, x+14, y+14, x, y+14, x-14, y+14, x-30, y+2)
	c.fill(white, rgb{250, 248, 246}, 256)
	c.fill(ellipse(x, y-1, 14, 14), p.eyes.mix(rgb{0, 0, 0}, 1, 3), 256)
	c.fill(ellipse(x, y-1, 12, 12), p.eyes, 256)
	c.glow(x+2, y+4, 10, 8, rgb{255, 255, 255}, 90)
	c.fill(ellipse(x, y-1, 6, 6), rgb{16, 14, 18}, 256)
	c.fill(ellipse(x-4, y-6, 3, 3), rgb{255, 255, 255}, 256)
	c.stroke(56, brow.mix(rgb{20, 10, 10}, 1, 2), x-32, y+3, x-16, y-18, x, y-17, x+16, y-18, x+32, y+3)
	c.stroke(18, p.skin.mix(rgb{110, 50, 40}, 1, 2), x-26, y+6, x-12, y+15, x, y+15, x+12, y+15, x+26, y+6)
	tilt := 3
	if x > 207 {
		tilt = -3
	}
	c.stroke(112, brow, x-34, y-34+tilt, x-14, y-50, x+4, y-44, x+20, y-44, x+36, y-32-tilt)
}

// letters are five by seven dots, a line a byte, the left one is bit 5.
var letters = map[rune][7]byte{
	'S': {0x0F, 0x10, 0x10, 0x0E, 0x01, 0x01, 0x1E}, 'P': {0x1E, 0x11, 0x11, 0x1E, 0x10, 0x10, 0x10},
	'E': {0x1F, 0x10, 0x10, 0x1E, 0x10, 0x10, 0x1F}, 'C': {0x0E, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0E},
	'I': {0x0E, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0E}, 'M': {0x11, 0x1B, 0x15, 0x15, 0x11, 0x11, 0x11},
	'N': {0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11},
}

func (c *canvas) word(s string, x, y, dot int, v rgb) {
	for _, r := range s {
		for row, bits := range letters[r] {
			for col := range 5 {
				if bits>>(4-col)&1 == 0 {
					continue
				}
				for i := range dot * dot {
					if px, py := x+col*dot+i%dot, y-7*dot+row*dot+i/dot; px < c.w && py < c.h {
						c.set(px, py, v)
					}
				}
			}
		}
		x += 7 * dot
	}
}

// Quality gives a file of about 13 KiB.
const Quality = 60

// JPEG is the face as a file of JPEG. quality is 1 to 100.
func (p *Portrait) JPEG(quality int) []byte { return encode(p.Draw(), quality) }

func encode(m image.Image, quality int) []byte {
	var b bytes.Buffer
	_ = jpeg.Encode(&b, m, &jpeg.Options{Quality: quality}) // a Buffer takes everything
	return jfif(b.Bytes())
}

// jfif puts the marker of a JFIF file behind the start of the image, which image/jpeg
// leaves out and Doc 9303-10 asks for (table 59, 63).
func jfif(b []byte) []byte {
	head := []byte{0xFF, 0xE0, 0, 16, 'J', 'F', 'I', 'F', 0, 1, 1, 1, 0x01, 0x2C, 0x01, 0x2C, 0, 0} // 300 pixels an inch
	return append(append(append([]byte(nil), b[:2]...), head...), b[2:]...)
}

// stream gives numbers that follow from a seed.
type stream struct {
	seed []byte
	n    byte
	b    []byte
}

func (s *stream) next(below int) int {
	if len(s.b) == 0 {
		h := sha256.Sum256(append(s.seed, s.n))
		s.b, s.n = h[:], s.n+1
	}
	v := s.b[0]
	s.b = s.b[1:]
	return int(v) * below / 256
}

// Signature is a usual mark of loops and lines, as a file of JPEG in shades of grey.
func Signature(seed []byte) []byte {
	const w, h = 320, 96
	c := newCanvas(w, h)
	c.fill(path{{0, 0}, {w * unit, 0}, {w * unit, h * unit}, {0, h * unit}}, rgb{255, 255, 255}, 256)
	s := &stream{seed: append([]byte("signature\x00"), seed...)}
	ink := rgb{24, 32, 92}
	x, y := 24, 58
	points := []int{x, y}
	for i := range 9 {
		up := 14 + s.next(20)
		if i == 0 || i == 4 {
			up = 44
		}
		points = append(points, x+4, y-up-14, x+10+s.next(8), y-up, x+22, y+8, x+18+s.next(8), y+s.next(10))
		x, y = points[len(points)-2], 58+s.next(8)-4
	}
	c.stroke(34, ink, points...)
	c.stroke(26, ink, 40, 80, 120, 66+s.next(8), 180, 78, 240, 90, 292, 70+s.next(8))
	m := image.NewGray(c.img.Rect)
	for i := range m.Pix {
		m.Pix[i] = byte((int(c.img.Pix[4*i])*2 + int(c.img.Pix[4*i+1])*5 + int(c.img.Pix[4*i+2])) / 8)
	}
	return encode(m, 40)
}

// Size of the picture of a finger in pixels.
const (
	FingerWidth  = 144
	FingerHeight = 192
)

// Finger is rings with a fault in them, as a file of JPEG in shades of grey: like a
// fingerprint, of no finger.
func Finger(seed []byte) []byte {
	m := image.NewGray(image.Rect(0, 0, FingerWidth, FingerHeight))
	s := &stream{seed: append([]byte("finger\x00"), seed...)}
	cx, cy := FingerWidth/2-8+s.next(16), 76+s.next(20)
	bend, step := 2+s.next(4), 128+s.next(32)
	for y := range FingerHeight {
		for x := range FingerWidth {
			dx, dy := x-cx, (y-cy)*4/5
			if y > cy {
				dx, dy = dx+dx*(y-cy)/400, dy-dy*(y-cy)*bend/2600
			}
			d := isqrt((dx*dx + dy*dy) * 256)
			m0 := d % step
			v := 70 + abs(m0-step/2)*260/step
			// The pad of the finger ends softly.
			e := (x-FingerWidth/2)*(x-FingerWidth/2)*1024/(68*68) + (y-FingerHeight/2)*(y-FingerHeight/2)*1024/(92*92)
			if e > 800 {
				v += (e - 800) * 2 / 3
			}
			m.Pix[y*m.Stride+x] = byte(min(v, 255))
		}
	}
	return encode(m, 40)
}
