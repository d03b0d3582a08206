package httpapi

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.json
var openapiDocument []byte

// openapi serves the description of this face.
func (a *API) openapi(w *response, _ *http.Request, _ string) error {
	return answer200(w, "application/json", openapiDocument)
}
