// Starts Swagger UI on the page of the API. A file of its own: the page's policy lets no script run inside it.
"use strict";
(() => {
  const place = document.getElementById("api");
  window.SwaggerUIBundle({
    url: place.dataset.document,
    domNode: place,
    deepLinking: true,
    validatorUrl: null, // asks no other site
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    presets: [window.SwaggerUIBundle.presets.apis],
    persistAuthorization: false, // a key is forgotten with the page
  });
})();
