package t1

// Vendor is what a maker's chips and drivers do in their own way where T=1' is
// concerned. Sources: the makers' public drivers (Infineon optiga-nbt-lib-c, NXP
// plug-and-trust), NXP UM11225.
type Vendor struct {
	Name      string
	NAD       byte   // controller to target; the other way the nibbles are swapped
	Format    Format // zero: that of GPC_SPE_172
	Retries   int
	Resynchs  int
	NoResynch bool
	WTXAnswer byte
	ColdReset PCB // what asks for a cold reset without a line; 0: nothing does
}

// The known ones. Infineon is also what is used where nothing else is said, with
// more patience.
var (
	Infineon = Vendor{Name: "infineon", NAD: 0x21, Retries: 2, Resynchs: 1, NoResynch: true, ColdReset: PowerOnReset}
	NXP      = Vendor{Name: "nxp", NAD: 0x5A, Retries: 10, WTXAnswer: 0x01, ColdReset: ColdReset}
	NXPeUICC = Vendor{Name: "nxp-euicc", NAD: 0x4B, Retries: 10, WTXAnswer: 0x01, ColdReset: ColdReset}
	// UM11225 is what NXP had before T=1' was published: LEN of one byte and the bytes
	// of the CRC swapped.
	UM11225 = Vendor{Name: "nxp-um11225", NAD: 0x5A, Format: Format{EDC: CRCX25Swapped}, Retries: 10, WTXAnswer: 0x01}
)

// Vendors are all of them.
var Vendors = []Vendor{Infineon, NXP, NXPeUICC, UM11225}

// Config is that of a T=1' engine that does as the vendor does.
func (v Vendor) Config() Config {
	return Config{
		Prime: true, NAD: v.NAD, Format: v.Format, Retries: v.Retries, Resynchs: v.Resynchs,
		NoResynch: v.NoResynch, WTXAnswer: v.WTXAnswer,
	}
}
