package event_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/binding/format/protobuf/v2/pb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/skeinmesh/skein/transport/event"
)

func str(s string) *pb.CloudEventAttributeValue {
	return &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeString{CeString: s}}
}

func message(change func(m *pb.CloudEvent)) []byte {
	m := &pb.CloudEvent{Id: "1", Source: "/s", SpecVersion: "1.0", Type: "t", Attributes: map[string]*pb.CloudEventAttributeValue{}}
	change(m)
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return raw
}

func fromProto(body []byte) (event.Event, error) {
	var e event.Event
	raw, err := event.AppendFromProto(nil, body)
	if err == nil {
		err = e.Scan(raw)
	}
	if err == nil {
		err = e.Check()
	}
	return e, err
}

func TestQ137TypesSurvive(t *testing.T) {
	at := time.Date(2026, 4, 5, 17, 31, 0, 123, time.UTC)
	body := message(func(m *pb.CloudEvent) {
		m.Attributes["b"] = &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeBoolean{CeBoolean: false}}
		m.Attributes["n"] = &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeInteger{CeInteger: -7}}
		m.Attributes["s"] = str("x")
		m.Attributes["y"] = &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeBytes{CeBytes: []byte{255, 0}}}
		m.Attributes["u"] = &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeUri{CeUri: "a:b"}}
		m.Attributes["r"] = &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeUriRef{CeUriRef: "/b"}}
		m.Attributes["time"] = &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeTimestamp{CeTimestamp: timestamppb.New(at)}}
		m.Data = &pb.CloudEvent_TextData{TextData: "€"}
	})
	e, err := fromProto(body)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct {
		kind event.Kind
		text string
	}{
		"b": {event.Boolean, "false"}, "n": {event.Integer, "-7"}, "s": {event.String, "x"}, "y": {event.Binary, "/wA="},
		"u": {event.URI, "a:b"}, "r": {event.URIRef, "/b"}, "time": {event.Timestamp, "2026-04-05T17:31:00.000000123Z"},
	}
	for name, v := range e.Attrs {
		if w := want[name]; v.Kind() != w.kind || v.String() != w.text {
			t.Errorf("%s is %v %q", name, v.Kind(), v)
		}
		delete(want, name)
	}
	if data, form := e.Data(); len(want) > 0 || string(data) != "€" || form != event.TextData {
		t.Errorf("left: %v; data %q", want, data)
	}
	var a, b pb.CloudEvent
	if proto.Unmarshal(body, &a) != nil || proto.Unmarshal(e.AppendProto(nil), &b) != nil || !proto.Equal(&a, &b) {
		t.Errorf("%v became %v", &a, &b)
	}
}

func TestQ138InvalidProtobufIsRefused(t *testing.T) {
	bytesField := func(n int, s string) string { return string([]byte{byte(n<<3 | 2), byte(len(s))}) + s }
	entry := func(s string) string { return bytesField(5, s) }
	good := string(message(func(*pb.CloudEvent) {}))
	for what, body := range map[string]string{
		"empty":                  "",
		"no protobuf":            "{}",
		"cut":                    good[:len(good)-1],
		"A1 no id":               string(message(func(m *pb.CloudEvent) { m.Id = "" })),
		"A2 no specversion":      string(message(func(m *pb.CloudEvent) { m.SpecVersion = "" })),
		"A2 0.3":                 string(message(func(m *pb.CloudEvent) { m.SpecVersion = "0.3" })),
		"A4 id twice":            good + bytesField(1, "1"),
		"A4 id as an attribute":  string(message(func(m *pb.CloudEvent) { m.Attributes["id"] = str("1") })),
		"A4 attribute twice":     good + entry(bytesField(1, "a")+bytesField(2, bytesField(3, "x"))) + entry(bytesField(1, "a")+bytesField(2, bytesField(3, "x"))),
		"data twice":             good + bytesField(6, "a") + bytesField(7, "a"),
		"id is a varint":         good + "\x08\x01",
		"A3 name":                string(message(func(m *pb.CloudEvent) { m.Attributes["A"] = str("1") })),
		"no key":                 good + entry(bytesField(2, bytesField(3, "x"))),
		"no value":               good + entry(bytesField(1, "a")),
		"empty value":            good + entry(bytesField(1, "a")+bytesField(2, "")),
		"two values":             good + entry(bytesField(1, "a")+bytesField(2, bytesField(3, "x")+bytesField(4, "x"))),
		"string is a varint":     good + entry(bytesField(1, "a")+bytesField(2, "\x18\x01")),
		"integer is bytes":       good + entry(bytesField(1, "a")+bytesField(2, bytesField(2, "x"))),
		"integer beyond 32 bits": good + entry(bytesField(1, "a")+bytesField(2, "\x10\xff\xff\xff\xff\x7f")),
		"integer as media type": string(message(func(m *pb.CloudEvent) {
			m.Attributes["datacontenttype"] = &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeInteger{}}
		})),
		"boolean as time": string(message(func(m *pb.CloudEvent) {
			m.Attributes["time"] = &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeBoolean{}}
		})),
		"A5 invalid UTF-8 in an id": strings.Replace(good, "1", "\xff", 1),
		"text that is not UTF-8":    good + bytesField(7, "\xff"),
		"broken Any":                good + bytesField(8, "\xff"),
		"time beyond 9999": string(message(func(m *pb.CloudEvent) {
			m.Attributes["a"] = &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeTimestamp{CeTimestamp: &timestamppb.Timestamp{Seconds: 1 << 40}}}
		})),
		"negative nanoseconds": string(message(func(m *pb.CloudEvent) {
			m.Attributes["a"] = &pb.CloudEventAttributeValue{Attr: &pb.CloudEventAttributeValue_CeTimestamp{CeTimestamp: &timestamppb.Timestamp{Nanos: -1}}}
		})),
	} {
		if _, err := fromProto([]byte(body)); !errors.As(err, new(*event.InvalidError)) {
			t.Errorf("%s: error is %v", what, err)
		}
	}
}

func TestQ137FieldsComeInAnyOrderAndUnknownOnesAreDropped(t *testing.T) {
	want := with(t, "ext", event.StringValue("v"))
	e, err := fromProto([]byte("\x2a\x0e\x12\x03\x1a\x01v\x0a\x03ext\x7a\x00\x78\x01" + "\x7a\x01x" + "\x22\x01t\x1a\x031.0\x12\x02/s\x0a\x011"))
	if err != nil || string(e.Bytes()) != string(want.Bytes()) {
		t.Errorf("%q: %v", e.Bytes(), err)
	}
}

func TestQ139AnAnyIsItsValueElsewhere(t *testing.T) {
	for url, schema := range map[string]string{
		"https://h/x.Y": "https://h/x.Y", "type.googleapis.com/x.Y": "https://type.googleapis.com/x.Y", "": "", "a b": "",
	} {
		e, err := fromProto(message(func(m *pb.CloudEvent) {
			m.Data = &pb.CloudEvent_ProtoData{ProtoData: &anypb.Any{TypeUrl: url, Value: []byte{255}}}
		}))
		if err != nil {
			t.Fatal(err)
		}
		again, err := fromJSON(string(e.AppendJSON(nil)))
		if err != nil {
			t.Fatalf("%s: %v", e.AppendJSON(nil), err)
		}
		data, _ := again.Data()
		media, _ := again.Attr("datacontenttype")
		got, _ := again.Attr("dataschema")
		if string(data) != "\xff" || media.String() != "application/protobuf" || got.String() != schema {
			t.Errorf("%s: %s", url, e.AppendJSON(nil))
		}
		kept, err := fromProto(e.AppendProto(nil))
		if err != nil || string(kept.Bytes()) != string(e.Bytes()) {
			t.Errorf("%s: protobuf does not keep it: %v", url, err)
		}
	}
}

func TestA14TimeTextSurvivesAndIsATimestampInProtobuf(t *testing.T) {
	for in, out := range map[string]string{
		"2018-04-05t17:31:00.10+02:00":    "2018-04-05T15:31:00.1Z",
		"2018-04-05T17:31:00Z":            "2018-04-05T17:31:00Z",
		"2018-04-05T17:31:00.1234567890Z": "2018-04-05T17:31:00.123456789Z",
		"2018-04-05T17:31:00.1234567891Z": "2018-04-05T17:31:00.1234567891Z", // no timestamp can hold it
		"2016-12-31T23:59:60Z":            "2016-12-31T23:59:60Z",
		"0000-01-01T00:00:00Z":            "0000-01-01T00:00:00Z",
	} {
		e := with(t, "time", event.StringValue(in))
		j, err := fromJSON(string(e.AppendJSON(nil)))
		if v, _ := j.Attr("time"); err != nil || v.String() != in {
			t.Errorf("JSON makes %s %s: %v", in, v, err)
		}
		p, err := fromProto(e.AppendProto(nil))
		if v, _ := p.Attr("time"); err != nil || v.String() != out || (in != out || out[len(out)-4:] == "00Z") && v.Kind() == 0 {
			t.Errorf("protobuf makes %s %s: %v", in, v, err)
		}
	}
}
