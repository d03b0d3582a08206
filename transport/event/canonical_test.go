package event

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sampleEnvelope has an attribute of each type.
func sampleEnvelope() []byte {
	return new(Builder).SetString("id", "A-1").SetString("source", "/s?q=1").SetString("type", "org.example.t").
		SetTime(time.Date(2026, 7, 23, 10, 11, 12, 5000, time.UTC)).
		SetString("subject", "größe").SetString("datacontenttype", "text/plain; charset=utf-8").
		Set("dataschema", URIValue("https://h/s#f")).
		Set("xbool", BooleanValue(true)).Set("xno", BooleanValue(false)).
		Set("xint", IntegerValue(-7)).Set("xzero", IntegerValue(0)).Set("xbytes", BinaryValue([]byte{0, 255})).
		Set("xref", URIRefValue("../a")).Set("xtime", TimestampValue(time.Unix(1, 2))).
		Set("xlong", StringValue(string(slices.Repeat([]byte("x"), 200)))).
		SetData(TextData, []byte("hello")).Append(nil)
}

// agree fails when the walk and the Builder judge an envelope differently.
func agree(t interface{ Fatalf(string, ...any) }, raw []byte) (valid bool) {
	var e Event
	if e.Scan(raw) != nil {
		return false
	}
	slow := e.explain()
	if fast := e.canonical(); fast != (slow == nil) {
		t.Fatalf("the walk says %v about %q, the Builder %v", fast, raw, slow)
	}
	return slow == nil
}

func TestCheckIsAsStrictInOneWalkAsByWritingTheEventAnew(t *testing.T) {
	if !agree(t, sampleEnvelope()) {
		t.Fatal("the sample is not valid")
	}
	alphabet := []byte{0, 1, 2, 3, 5, 8, 0x0a, 0x10, 0x12, 0x1a, 0x22, 0x2a, 0x32, 0x3a, 0x42, 0x7f, 0x80, 0x81, 0xff, 'A', 'a', 'x', '/', ':', '%'}
	rapid.Check(t, func(r *rapid.T) {
		raw := sampleEnvelope()
		for range rapid.IntRange(1, 3).Draw(r, "edits") {
			at := rapid.IntRange(0, len(raw)-1).Draw(r, "at")
			b := rapid.SampledFrom(alphabet).Draw(r, "byte")
			switch rapid.IntRange(0, 5).Draw(r, "how") {
			case 0:
				raw[at] = b
			case 1:
				raw[at]++
			case 2:
				raw = slices.Insert(raw, at, b)
			case 3:
				raw = slices.Delete(raw, at, at+1)
			case 4: // a length in a longer form than it needs
				if raw[at] < 0x80 {
					raw = slices.Replace(raw, at, at+1, raw[at]|0x80, 0)
				}
			case 5: // a stretch twice
				end := min(len(raw), at+rapid.IntRange(1, 30).Draw(r, "stretch"))
				raw = slices.Insert(raw, end, slices.Clone(raw[at:end])...)
			}
		}
		agree(r, raw)
	})
}

func FuzzCheck(f *testing.F) {
	f.Add(sampleEnvelope())
	f.Add(new(Builder).SetString("id", "1").SetString("source", "/").SetString("type", "t").SetData(ProtoData, []byte{10, 1, 'u'}).Append(nil))
	f.Fuzz(func(t *testing.T, raw []byte) { agree(t, raw) })
}

func TestCheckOfAValidEventCostsNoGarbage(t *testing.T) {
	var e Event
	if err := e.Scan(sampleEnvelope()); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := e.Check(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCheck(b *testing.B) {
	var e Event
	raw := new(Builder).SetString("id", "0123456789").SetString("source", "/bench/a").SetString("type", "bench.event").
		SetTime(time.Date(2026, 7, 23, 10, 11, 12, 5000, time.UTC)).SetString("datacontenttype", "application/json").
		SetData(BinaryData, make([]byte, 1024)).Append(nil)
	if err := e.Scan(raw); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Check(); err != nil {
			b.Fatal(err)
		}
	}
}
