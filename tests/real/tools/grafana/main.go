// Reads a dashboard from standard input as strictly as Grafana's own types allow: unknown keys anywhere, wrong types and missing keys are
// told on standard error, with status 1.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		board := dashboard.Dashboard{}
		err = board.UnmarshalJSONStrict(text)
	}
	if err != nil && err.Error() != "" { // a good file gives an empty list of errors, which is not nil
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
