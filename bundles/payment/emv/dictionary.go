package emv

import "slices"

// Element is a data element. Format is that of Book 3 annex A: n numeric, cn compressed
// numeric, a, an, ans, b binary, var. Min and Max are bytes of the value. Template holds
// those it is found in, nil for one that stands by itself; Source is who gives it: ICC,
// terminal, issuer; Book is where it is defined.
type Element struct {
	Tag          Tag
	Name, Format string
	Min, Max     int
	Template     []Tag
	Source, Book string
}

// Where the elements are defined.
const (
	book1  = "EMV 4.4 Book 1 annex B"
	book3  = "EMV 4.4 Book 3 annex A"
	book4  = "EMV 4.4 Book 4 annex A5 (the tag is common use, unverified)"
	bookB  = "EMV Contactless Book B"
	bookC2 = "EMV Contactless Book C-2 (recalled, unverified)"
	bookC3 = "EMV Contactless Book C-3 (recalled, unverified)"
)

// Who gives them.
const (
	icc      = "ICC"
	terminal = "terminal"
	issuer   = "issuer"
	either   = "issuer or terminal"
)

// Lookup finds a data element by its tag. A tag that has another meaning within a
// template (LookupIn) has its common one here.
func Lookup(t Tag) (Element, bool) {
	i := slices.IndexFunc(elements, func(e Element) bool { return e.Tag == t })
	if i < 0 {
		return Element{}, false
	}
	return elements[i], true
}

// LookupIn finds a data element by its tag and the template around it, 0 for none:
// biometric templates use tags that mean something else by themselves.
func LookupIn(t, template Tag) (Element, bool) {
	i := slices.IndexFunc(elements, func(e Element) bool { return e.Tag == t && slices.Contains(e.Template, template) })
	if i < 0 {
		return Lookup(t)
	}
	return elements[i], true
}

// Elements are all data elements that are known: the common ones by tag, then those
// within biometric templates, then those of contactless kernels.
func Elements() []Element { return slices.Clone(elements) }

// Name is the name of a data element, or that it is unknown.
func Name(t Tag) string {
	if e, ok := Lookup(t); ok {
		return e.Name
	}
	return "unknown data element"
}

// elements is the one table. A guest that does not look elements up does not carry it:
// the linker leaves it out (TestGuestHasNoDictionary).
var elements = []Element{
	{0x42, "Issuer Identification Number (IIN)", "n", 3, 3, []Tag{0xBF0C, 0x73}, icc, book3},
	{0x4F, "Application Dedicated File (ADF) Name", "b", 5, 16, []Tag{0x61}, icc, book1},
	{0x50, "Application Label", "ans", 1, 16, []Tag{0x61, 0xA5}, icc, book1},
	{0x57, "Track 2 Equivalent Data", "b", 1, 19, []Tag{0x70, 0x77}, icc, book3},
	{0x5A, "Application Primary Account Number (PAN)", "cn", 1, 10, []Tag{0x70, 0x77}, icc, book3},
	{0x5F20, "Cardholder Name", "ans", 2, 26, []Tag{0x70, 0x77}, icc, book3},
	{0x5F24, "Application Expiration Date", "n", 3, 3, []Tag{0x70, 0x77}, icc, book3},
	{0x5F25, "Application Effective Date", "n", 3, 3, []Tag{0x70, 0x77}, icc, book3},
	{0x5F28, "Issuer Country Code", "n", 2, 2, []Tag{0x70, 0x77}, icc, book3},
	{0x5F2A, "Transaction Currency Code", "n", 2, 2, nil, terminal, book3},
	{0x5F2D, "Language Preference", "an", 2, 8, []Tag{0xA5}, icc, book3},
	{0x5F30, "Service Code", "n", 2, 2, []Tag{0x70, 0x77}, icc, book3},
	{0x5F34, "Application PAN Sequence Number", "n", 1, 1, []Tag{0x70, 0x77}, icc, book3},
	{0x5F36, "Transaction Currency Exponent", "n", 1, 1, nil, terminal, book3},
	{0x5F50, "Issuer URL", "ans", 0, 255, []Tag{0xBF0C, 0x73}, icc, book3},
	{0x5F53, "International Bank Account Number (IBAN)", "var", 0, 34, []Tag{0xBF0C, 0x73}, icc, book3},
	{0x5F54, "Bank Identifier Code (BIC)", "var", 8, 11, []Tag{0xBF0C, 0x73}, icc, book3},
	{0x5F55, "Issuer Country Code (alpha2)", "a", 2, 2, []Tag{0xBF0C, 0x73}, icc, book3},
	{0x5F56, "Issuer Country Code (alpha3)", "a", 3, 3, []Tag{0xBF0C, 0x73}, icc, book3},
	{0x5F57, "Account Type", "n", 1, 1, nil, terminal, book3},
	{0x61, "Application Template", "b", 0, 252, []Tag{0x70, 0x77}, icc, book1},
	{0x6F, "File Control Information (FCI) Template", "var", 0, 252, nil, icc, book1},
	{0x70, "READ RECORD Response Message Template", "var", 0, 252, nil, icc, book3},
	{0x71, "Issuer Script Template 1", "b", 0, 255, nil, issuer, book3},
	{0x72, "Issuer Script Template 2", "b", 0, 255, nil, issuer, book3},
	{0x73, "Directory Discretionary Template", "var", 0, 252, []Tag{0x61}, icc, book1},
	{0x77, "Response Message Template Format 2", "var", 0, 255, nil, icc, book3},
	{0x7F60, "Biometric Information Template (BIT)", "b", 0, 255, []Tag{0xBF4A, 0xBF4B}, icc, book3},
	{0x80, "Response Message Template Format 1", "var", 0, 255, nil, icc, book3},
	{0x81, "Amount, Authorised (Binary)", "b", 4, 4, nil, terminal, book3},
	{0x82, "Application Interchange Profile", "b", 2, 2, []Tag{0x77, 0x80}, icc, book3},
	{0x83, "Command Template", "b", 0, 255, nil, terminal, book3},
	{0x84, "Dedicated File (DF) Name", "b", 5, 16, []Tag{0x6F}, icc, book1},
	{0x86, "Issuer Script Command", "b", 0, 261, []Tag{0x71, 0x72}, issuer, book3},
	{0x87, "Application Priority Indicator", "b", 1, 1, []Tag{0x61, 0xA5}, icc, book1},
	{0x88, "Short File Identifier (SFI)", "b", 1, 1, []Tag{0xA5}, icc, book1},
	{0x89, "Authorisation Code", "var", 6, 6, nil, issuer, book3},
	{0x8A, "Authorisation Response Code", "an", 2, 2, nil, either, book3},
	{0x8C, "Card Risk Management Data Object List 1 (CDOL1)", "b", 0, 252, []Tag{0x70, 0x77}, icc, book3},
	{0x8D, "Card Risk Management Data Object List 2 (CDOL2)", "b", 0, 252, []Tag{0x70, 0x77}, icc, book3},
	{0x8E, "Cardholder Verification Method (CVM) List", "b", 10, 252, []Tag{0x70, 0x77}, icc, book3},
	{0x8F, "Certification Authority Public Key Index", "b", 1, 1, []Tag{0x70, 0x77}, icc, book3},
	{0x90, "Issuer Public Key Certificate", "b", 64, 248, []Tag{0x70, 0x77}, icc, book3},
	{0x91, "Issuer Authentication Data", "b", 8, 16, nil, issuer, book3},
	{0x92, "Issuer Public Key Remainder", "b", 0, 255, []Tag{0x70, 0x77}, icc, book3},
	{0x93, "Signed Static Application Data", "b", 64, 248, []Tag{0x70, 0x77}, icc, book3},
	{0x94, "Application File Locator (AFL)", "var", 0, 252, []Tag{0x77, 0x80}, icc, book3},
	{0x95, "Terminal Verification Results", "b", 5, 5, nil, terminal, book3},
	{0x97, "Transaction Certificate Data Object List (TDOL)", "b", 0, 252, []Tag{0x70, 0x77}, icc, book3},
	{0x98, "Transaction Certificate (TC) Hash Value", "b", 20, 20, nil, terminal, book3},
	{0x99, "Transaction Personal Identification Number (PIN) Data", "b", 0, 255, nil, terminal, book3},
	{0x9A, "Transaction Date", "n", 3, 3, nil, terminal, book3},
	{0x9B, "Transaction Status Information", "b", 2, 2, nil, terminal, book3},
	{0x9C, "Transaction Type", "n", 1, 1, nil, terminal, book3},
	{0x9D, "Directory Definition File (DDF) Name", "b", 5, 16, []Tag{0x61}, icc, book1},
	{0xA1, "Biometric Header Template (BHT)", "b", 0, 255, []Tag{0x7F60}, icc, book3},
	{0xA5, "File Control Information (FCI) Proprietary Template", "var", 0, 252, []Tag{0x6F}, icc, book1},
	{0x9F01, "Acquirer Identifier", "n", 6, 6, nil, terminal, book3},
	{0x9F02, "Amount, Authorised (Numeric)", "n", 6, 6, nil, terminal, book3},
	{0x9F03, "Amount, Other (Numeric)", "n", 6, 6, nil, terminal, book3},
	{0x9F04, "Amount, Other (Binary)", "b", 4, 4, nil, terminal, book3},
	{0x9F05, "Application Discretionary Data", "b", 1, 32, []Tag{0x70, 0x77}, icc, book3},
	{0x9F06, "Application Identifier (terminal)", "b", 5, 16, nil, terminal, book3},
	{0x9F07, "Application Usage Control", "b", 2, 2, []Tag{0x70, 0x77}, icc, book3},
	{0x9F08, "Application Version Number", "b", 2, 2, []Tag{0x70, 0x77}, icc, book3},
	{0x9F09, "Application Version Number (terminal)", "b", 2, 2, nil, terminal, book3},
	{0x9F0A, "Application Selection Registered Proprietary Data (ASRPD)", "b", 0, 255, []Tag{0xBF0C, 0x73}, icc, book1},
	{0x9F0B, "Cardholder Name Extended", "ans", 27, 45, []Tag{0x70, 0x77}, icc, book3},
	{0x9F0C, "Issuer Identification Number Extended (IINE)", "n", 3, 4, []Tag{0xBF0C, 0x73}, icc, book3},
	{0x9F0D, "Issuer Action Code - Default", "b", 5, 5, []Tag{0x70, 0x77}, icc, book3},
	{0x9F0E, "Issuer Action Code - Denial", "b", 5, 5, []Tag{0x70, 0x77}, icc, book3},
	{0x9F0F, "Issuer Action Code - Online", "b", 5, 5, []Tag{0x70, 0x77}, icc, book3},
	{0x9F10, "Issuer Application Data", "b", 0, 32, []Tag{0x77, 0x80}, icc, book3},
	{0x9F11, "Issuer Code Table Index", "n", 1, 1, []Tag{0xA5}, icc, book1},
	{0x9F12, "Application Preferred Name", "ans", 1, 16, []Tag{0x61, 0xA5}, icc, book1},
	{0x9F13, "Last Online Application Transaction Counter (ATC) Register", "b", 2, 2, nil, icc, book3},
	{0x9F14, "Lower Consecutive Offline Limit", "b", 1, 1, []Tag{0x70, 0x77}, icc, book3},
	{0x9F15, "Merchant Category Code", "n", 2, 2, nil, terminal, book3},
	{0x9F16, "Merchant Identifier", "ans", 15, 15, nil, terminal, book3},
	{0x9F17, "Personal Identification Number (PIN) Try Counter", "b", 1, 1, nil, icc, book3},
	{0x9F18, "Issuer Script Identifier", "b", 4, 4, []Tag{0x71, 0x72}, issuer, book3},
	{0x9F19, "Token Requestor ID", "n", 6, 6, []Tag{0x70, 0x77}, icc, book3},
	{0x9F1A, "Terminal Country Code", "n", 2, 2, nil, terminal, book3},
	{0x9F1B, "Terminal Floor Limit", "b", 4, 4, nil, terminal, book3},
	{0x9F1C, "Terminal Identification", "an", 8, 8, nil, terminal, book3},
	{0x9F1D, "Terminal Risk Management Data", "b", 1, 8, nil, terminal, book3},
	{0x9F1E, "Interface Device (IFD) Serial Number", "an", 8, 8, nil, terminal, book3},
	{0x9F1F, "Track 1 Discretionary Data", "ans", 0, 76, []Tag{0x70, 0x77}, icc, book3},
	{0x9F20, "Track 2 Discretionary Data", "cn", 0, 19, []Tag{0x70, 0x77}, icc, book3},
	{0x9F21, "Transaction Time", "n", 3, 3, nil, terminal, book3},
	{0x9F22, "Certification Authority Public Key Index (terminal)", "b", 1, 1, nil, terminal, book3},
	{0x9F23, "Upper Consecutive Offline Limit", "b", 1, 1, []Tag{0x70, 0x77}, icc, book3},
	{0x9F24, "Payment Account Reference (PAR)", "an", 29, 29, []Tag{0x70, 0x77}, icc, book3},
	{0x9F25, "Last 4 Digits of PAN", "n", 2, 2, []Tag{0x70, 0x77}, icc, book3},
	{0x9F26, "Application Cryptogram", "b", 8, 8, []Tag{0x77, 0x80}, icc, book3},
	{0x9F27, "Cryptogram Information Data", "b", 1, 1, []Tag{0x77, 0x80}, icc, book3},
	{0x9F2D, "ICC PIN Encipherment Public Key Certificate", "b", 42, 248, []Tag{0x70, 0x77}, icc, book3},
	{0x9F2E, "ICC PIN Encipherment Public Key Exponent", "b", 1, 3, []Tag{0x70, 0x77}, icc, book3},
	{0x9F2F, "ICC PIN Encipherment Public Key Remainder", "b", 0, 255, []Tag{0x70, 0x77}, icc, book3},
	{0x9F30, "Biometric Terminal Capabilities", "b", 3, 3, nil, terminal, book3},
	{0x9F31, "Card BIT Group Template", "b", 0, 255, []Tag{0x70}, icc, book3},
	{0x9F32, "Issuer Public Key Exponent", "b", 1, 3, []Tag{0x70, 0x77}, icc, book3},
	{0x9F33, "Terminal Capabilities", "b", 3, 3, nil, terminal, book3},
	{0x9F34, "Cardholder Verification Method (CVM) Results", "b", 3, 3, nil, terminal, book3},
	{0x9F35, "Terminal Type", "n", 1, 1, nil, terminal, book3},
	{0x9F36, "Application Transaction Counter (ATC)", "b", 2, 2, []Tag{0x77, 0x80}, icc, book3},
	{0x9F37, "Unpredictable Number", "b", 4, 4, nil, terminal, book3},
	{0x9F38, "Processing Options Data Object List (PDOL)", "b", 0, 255, []Tag{0xA5}, icc, book3},
	{0x9F39, "Point-of-Service (POS) Entry Mode", "n", 1, 1, nil, terminal, book3},
	{0x9F3A, "Amount, Reference Currency", "b", 4, 4, nil, terminal, book3},
	{0x9F3B, "Application Reference Currency", "n", 2, 8, []Tag{0x70, 0x77}, icc, book3},
	{0x9F3C, "Transaction Reference Currency Code", "n", 2, 2, nil, terminal, book3},
	{0x9F3D, "Transaction Reference Currency Exponent", "n", 1, 1, nil, terminal, book3},
	{0x9F40, "Additional Terminal Capabilities", "b", 5, 5, nil, terminal, book3},
	{0x9F41, "Transaction Sequence Counter", "n", 2, 4, nil, terminal, book3},
	{0x9F42, "Application Currency Code", "n", 2, 2, []Tag{0x70, 0x77}, icc, book3},
	{0x9F43, "Application Reference Currency Exponent", "n", 1, 4, []Tag{0x70, 0x77}, icc, book3},
	{0x9F44, "Application Currency Exponent", "n", 1, 1, []Tag{0x70, 0x77}, icc, book3},
	{0x9F45, "Data Authentication Code", "b", 2, 2, nil, icc, book3},
	{0x9F46, "ICC Public Key Certificate", "b", 42, 248, []Tag{0x70, 0x77}, icc, book3},
	{0x9F47, "ICC Public Key Exponent", "b", 1, 3, []Tag{0x70, 0x77}, icc, book3},
	{0x9F48, "ICC Public Key Remainder", "b", 0, 255, []Tag{0x70, 0x77}, icc, book3},
	{0x9F49, "Dynamic Data Authentication Data Object List (DDOL)", "b", 0, 252, []Tag{0x70, 0x77}, icc, book3},
	{0x9F4A, "Static Data Authentication Tag List", "var", 0, 252, []Tag{0x70, 0x77}, icc, book3},
	{0x9F4B, "Signed Dynamic Application Data", "b", 42, 248, []Tag{0x77, 0x80}, icc, book3},
	{0x9F4C, "ICC Dynamic Number", "b", 2, 8, nil, icc, book3},
	{0x9F4D, "Log Entry", "b", 2, 2, []Tag{0xBF0C, 0x73}, icc, book3},
	{0x9F4E, "Merchant Name and Location", "ans", 0, 255, nil, terminal, book3},
	{0x9F4F, "Log Format", "b", 0, 255, nil, icc, book3},
	{0x9F5B, "Issuer Script Results", "b", 5, 255, nil, terminal, book4},
	{0xBF0C, "File Control Information (FCI) Issuer Discretionary Data", "var", 0, 222, []Tag{0xA5}, icc, book1},
	{0xBF4A, "Offline BIT Group Template", "b", 0, 255, []Tag{0x9F31}, icc, book3},
	{0xBF4B, "Online BIT Group Template", "b", 0, 255, []Tag{0x9F31}, icc, book3},
	{0xBF4C, "Biometric Try Counters Template", "b", 0, 255, nil, icc, book3},
	{0xBF4D, "Preferred Attempts Template", "b", 0, 255, nil, icc, book3},
	{0xBF4E, "Biometric Verification Data Template", "b", 0, 255, nil, terminal, book3},

	// Within biometric templates.
	{0x81, "Biometric Type", "b", 1, 3, []Tag{0xA1, 0xBF4E}, icc, book3},
	{0x82, "Biometric Subtype", "b", 1, 1, []Tag{0xA1}, icc, book3},
	{0x90, "Biometric Solution ID", "b", 0, 255, []Tag{0xA1, 0xBF4E}, icc, book3},
	{0xDF50, "Facial Try Counter", "b", 1, 1, []Tag{0xBF4C}, icc, book3},
	{0xDF50, "Preferred Facial Attempts", "b", 1, 1, []Tag{0xBF4D}, icc, book3},
	{0xDF51, "Finger Try Counter", "b", 1, 1, []Tag{0xBF4C}, icc, book3},
	{0xDF51, "Preferred Finger Attempts", "b", 1, 1, []Tag{0xBF4D}, icc, book3},
	{0xDF52, "Iris Try Counter", "b", 1, 1, []Tag{0xBF4C}, icc, book3},
	{0xDF52, "Preferred Iris Attempts", "b", 1, 1, []Tag{0xBF4D}, icc, book3},
	{0xDF53, "Palm Try Counter", "b", 1, 1, []Tag{0xBF4C}, icc, book3},
	{0xDF53, "Preferred Palm Attempts", "b", 1, 1, []Tag{0xBF4D}, icc, book3},
	{0xDF54, "Voice Try Counter", "b", 1, 1, []Tag{0xBF4C}, icc, book3},
	{0xDF54, "Preferred Voice Attempts", "b", 1, 1, []Tag{0xBF4D}, icc, book3},
	{0xDF50, "Enciphered Biometric Key Seed", "b", 0, 255, []Tag{0xBF4E}, terminal, book3},
	{0xDF51, "Enciphered Biometric Data", "b", 0, 255, []Tag{0xBF4E}, terminal, book3},
	{0xDF52, "MAC of Enciphered Biometric Data", "b", 8, 8, []Tag{0xBF4E}, terminal, book3},

	// Contactless. 9F66, 9F69 and 9F6E have one meaning in kernel 2 and another in kernel 3.
	{0x9F29, "Extended Selection", "b", 1, 16, []Tag{0x61}, icc, bookB},
	{0x9F2A, "Kernel Identifier", "b", 1, 8, []Tag{0x61}, icc, bookB},
	{0x56, "Track 1 Data", "ans", 0, 76, []Tag{0x70}, icc, bookC2},
	{0x9F50, "Offline Accumulator Balance", "n", 6, 6, nil, icc, bookC2},
	{0x9F53, "Transaction Category Code", "an", 1, 1, nil, terminal, bookC2},
	{0x9F5D, "Application Capabilities Information", "b", 3, 3, []Tag{0xBF0C}, icc, bookC2},
	{0x9F60, "CVC3 (Track 1)", "b", 2, 2, []Tag{0x77}, icc, bookC2},
	{0x9F61, "CVC3 (Track 2)", "b", 2, 2, []Tag{0x77}, icc, bookC2},
	{0x9F62, "PCVC3 (Track 1)", "b", 6, 6, []Tag{0x70}, icc, bookC2},
	{0x9F63, "PUNATC (Track 1)", "b", 6, 6, []Tag{0x70}, icc, bookC2},
	{0x9F64, "NATC (Track 1)", "b", 1, 1, []Tag{0x70}, icc, bookC2},
	{0x9F65, "PCVC3 (Track 2)", "b", 2, 2, []Tag{0x70}, icc, bookC2},
	{0x9F66, "Terminal Transaction Qualifiers (TTQ)", "b", 4, 4, nil, terminal, bookC3},
	{0x9F67, "NATC (Track 2)", "b", 1, 1, []Tag{0x70}, icc, bookC2},
	{0x9F68, "Mag-stripe CVM List", "b", 10, 252, []Tag{0x70}, icc, bookC2},
	{0x9F69, "Card Authentication Related Data", "b", 5, 16, []Tag{0x70, 0x77}, icc, bookC3},
	{0x9F6A, "Unpredictable Number (Numeric)", "n", 4, 4, nil, terminal, bookC2},
	{0x9F6B, "Track 2 Data", "b", 1, 19, []Tag{0x70}, icc, bookC2},
	{0x9F6C, "Card Transaction Qualifiers (CTQ)", "b", 2, 2, []Tag{0x77}, icc, bookC3},
	{0x9F6D, "Mag-stripe Application Version Number (reader)", "b", 2, 2, nil, terminal, bookC2},
	{0x9F6E, "Form Factor Indicator", "b", 4, 32, []Tag{0x70, 0x77}, icc, bookC3},
	{0x9F7C, "Customer Exclusive Data", "b", 0, 32, []Tag{0x70, 0x77}, icc, bookC3},
	{0x9F7E, "Mobile Support Indicator", "b", 1, 1, nil, terminal, bookC2},
}
