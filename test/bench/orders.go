package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// orders makes JSON as a shop's events hold it: the same fields in each, ids,
// times and amounts that differ, names and goods that come back.
type orders struct {
	rng *rand.Rand
	at  time.Time
	n   int
}

func newOrders(seed uint64) *orders {
	return &orders{rng: rand.New(rand.NewPCG(seed, seed)), at: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)}
}

type order struct {
	ID       string    `json:"orderId"`
	Number   int       `json:"orderNumber"`
	Placed   time.Time `json:"placedAt"`
	Status   string    `json:"status"`
	Currency string    `json:"currency"`
	Customer customer  `json:"customer"`
	ShipTo   address   `json:"shippingAddress"`
	Items    []item    `json:"items"`
	Total    float64   `json:"total"`
	Trace    string    `json:"traceId"`
	Note     string    `json:"note"`
}

type customer struct {
	ID    string `json:"customerId"`
	Name  string `json:"name"`
	Email string `json:"email"`
	Tier  string `json:"tier"`
}

type address struct {
	Street  string `json:"street"`
	City    string `json:"city"`
	Code    string `json:"postalCode"`
	Country string `json:"country"`
}

type item struct {
	SKU      string  `json:"sku"`
	Name     string  `json:"name"`
	Quantity int     `json:"quantity"`
	Price    float64 `json:"unitPrice"`
}

var (
	givenNames = []string{"Ada", "Bela", "Chen", "Dilan", "Edda", "Femi", "Greta", "Hugo", "Ines", "Jan", "Kofi", "Lena", "Mats", "Nour", "Olga", "Pia"}
	surnames   = []string{"Albers", "Banda", "Costa", "Duarte", "Eriksen", "Fischer", "Garcia", "Hansen", "Ivanova", "Jensen", "Kaya", "Lopez", "Moreau", "Novak", "Okafor", "Petrov"}
	streets    = []string{"Mill Lane", "Station Road", "Harbour Street", "Church Square", "Linden Avenue", "Market Street", "Garden Row", "Bridge Street"}
	cities     = []string{"Halle", "Porto", "Gdansk", "Lyon", "Turku", "Graz", "Malmo", "Bergen", "Utrecht", "Leeds"}
	countries  = []string{"DE", "PT", "PL", "FR", "FI", "AT", "SE", "NO", "NL", "GB"}
	goods      = []string{"espresso cups, set of 4", "wool blanket", "desk lamp", "bicycle bell", "oak chopping board", "rain jacket", "notebook, ruled", "cast iron pan", "garden shears", "linen shirt"}
	states     = []string{"created", "paid", "packed", "shipped"}
	tiers      = []string{"basic", "plus", "gold"}
	remarks    = []string{"please", "leave", "with", "the", "neighbour", "ring", "twice", "gift", "wrap", "call", "before", "delivery", "back", "door", "no", "plastic", "after", "six", "thank", "you"}
)

// next is an order of exactly so many bytes, which must be at least 700.
func (o *orders) next(size int) []byte {
	o.n++
	o.at = o.at.Add(time.Duration(o.rng.IntN(2_000_000)) * time.Microsecond)
	given, family := o.pick(givenNames), o.pick(surnames)
	where := o.rng.IntN(len(cities))
	v := order{
		ID: o.hex(8) + "-" + o.hex(4) + "-" + o.hex(4) + "-" + o.hex(12), Number: 4_000_000 + o.n, Placed: o.at,
		Status: o.pick(states), Currency: "EUR", Trace: o.hex(32),
		Customer: customer{ID: "C-" + o.hex(10), Name: given + " " + family, Email: fmt.Sprintf("%s.%s%d@example.org", given, family, o.rng.IntN(1000)), Tier: o.pick(tiers)},
		ShipTo:   address{Street: fmt.Sprint(o.pick(streets), " ", 1+o.rng.IntN(180)), City: cities[where], Code: fmt.Sprintf("%05d", o.rng.IntN(100_000)), Country: countries[where]},
	}
	for range 1 + o.rng.IntN(5) {
		one := item{SKU: "SKU-" + o.hex(8), Name: o.pick(goods), Quantity: 1 + o.rng.IntN(4), Price: float64(100+o.rng.IntN(20_000)) / 100}
		with := v
		with.Items = append(v.Items, one)
		with.Total += float64(one.Quantity) * one.Price
		if len(encode(with)) > size {
			break
		}
		v = with
	}
	for missing := size - len(encode(v)); missing > 0; {
		word := o.pick(remarks) + " "
		word = word[:min(missing, len(word))]
		v.Note += word
		missing -= len(word)
	}
	return encode(v)
}

func (o *orders) pick(from []string) string { return from[o.rng.IntN(len(from))] }

func (o *orders) hex(digits int) string {
	s := fmt.Sprintf("%016x%016x", o.rng.Uint64(), o.rng.Uint64())
	return s[:digits]
}

func encode(v order) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of a struct that has no such fields
	}
	return b
}
