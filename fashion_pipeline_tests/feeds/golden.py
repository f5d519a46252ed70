"""Feeds of kinds of which no real file is at hand, written after the vendors' documentation."""
# ruff: noqa: E501 - a line of a feed reads better whole

import json
from typing import Any

#: Meta's template: a row of comments before the header. https://developers.facebook.com/docs/marketing-api/catalog
META_TEMPLATE = (
    '"# Required | A unique content ID. | Max characters: 100","# Required | Max characters: 200",# Optional,'
    "# Required | Supported values: in stock; out of stock,# Required,# Required,# Required,# Required,# Required,"
    "# Optional,# Optional,# Optional,# Optional\n"
    "id,title,description,availability,condition,price,link,image_link,brand,sale_price,additional_image_link,"
    "image[0].url,image[1].url\n"
    "1,Slip Dress,D,in stock,new,9.99 USD,https://s.example/1,,Acme,7.99 USD,"
    '"https://s.example/2.jpg;https://s.example/3.jpg https://s.example/4.jpg|https://s.example/5.jpg",'
    "https://s.example/x.jpg,https://s.example/y.jpg\n"
    '2,Coat,D,available for order,new,"1,299.00 USD",https://s.example/2,https://s.example/c.jpg,Acme,,,,\n'
    "3,Bag,D,mark_as_sold,used_good,12 USD,https://s.example/3,https://s.example/b.jpg,Acme,,,,\n"
)
META_NESTED = (
    "id\ttitle\tavailability\tprice\tlink\timage\tbrand\n"
    '1\tTop\tin stock\t9.99 USD\thttps://s.example/1\t"[{""url"":""https://s.example/a.jpg"",""tag"":[""x""]},'
    '{""url"":""https://s.example/b.jpg""}]"\tAcme\n'
)
META_XML = (
    '<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel><item><g:id>1</g:id>'
    "<g:title>Top</g:title><g:description>D</g:description><g:link>https://s.example/1</g:link>"
    "<g:image_link>https://s.example/1.jpg</g:image_link>"
    "<additional_image_link>https://s.example/2.jpg,https://s.example/3.jpg</additional_image_link>"
    "<g:brand>Acme</g:brand><g:condition>new</g:condition><g:availability>in stock</g:availability>"
    "<g:price>9.99 USD</g:price><g:sale_price>8.99 USD</g:sale_price><fb_product_category>Clothing</fb_product_category>"
    "</item><item><g:id>2</g:id><title>Scarf</title><link>https://s.example/2</link><g:price>5.00 USD</g:price>"
    "<g:availability>out of stock</g:availability></item></channel></rss>"
)
ATOM = (
    '<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0">'
    '<title>Shop</title><link rel="self" href="https://s.example"/><updated>2026-01-01T00:00:00Z</updated>'
    "<entry><title>Dress</title><g:id>1</g:id><link rel='alternate' type='text/html' href='https://s.example/p/1'/>"
    "<summary>Soft &lt;b&gt;linen&lt;/b&gt;</summary><g:price>12.50 EUR</g:price><g:sale_price>10.00 EUR</g:sale_price>"
    "<g:sale_price_effective_date>2026-01-01T00:00+0100/2027-01-01T00:00+0100</g:sale_price_effective_date>"
    "<g:image_link>https://s.example/1.jpg</g:image_link><g:additional_image_link>https://s.example/2.jpg"
    "</g:additional_image_link><g:additional_image_link>https://s.example/3.jpg</g:additional_image_link>"
    "<g:availability>in_stock</g:availability><g:shipping><g:country>DE</g:country><g:price>4.90 EUR</g:price>"
    "</g:shipping><g:gender>female</g:gender><g:color>Navy/White</g:color><g:size>M</g:size></entry>"
    "<entry><id>2</id><title>Skirt</title><link href='https://s.example/p/2'/><g:price>20.00 EUR</g:price>"
    "<g:sale_price>15-18 EUR</g:sale_price></entry></feed>"
)
#: https://developer.awin.com/docs/product-feed-advertiser
AWIN_ADVERTISER_CSV = (
    "pid;name;desc;price;purl;imgurl;parentpid;category;currency;colour;size;suitable_for;alternate_image;instock;rrp\n"
    "P1;Kleid;Ein Kleid;49.90;https://m.example/1;https://m.example/1.jpg;G1;Damen > Kleider;EUR;Rot;38;female;"
    "https://m.example/2.jpg,https://m.example/3.jpg;yes;69.90\n"
    "P2;Hose;;19,90;https://m.example/2;https://m.example/4.jpg;G2;;EUR;;;;;0;\n"
)
AWIN_ADVERTISER_XML = (
    '<?xml version="1.0" encoding="UTF-8"?><products><product><pid>P1</pid><name><![CDATA[Kleid & mehr]]></name>'
    "<desc>D</desc><price>49.90</price><currency>EUR</currency><purl>https://m.example/1?a=1&amp;b=2</purl>"
    "<imgurl>https://m.example/1.jpg</imgurl><alternate_image>https://m.example/2.jpg</alternate_image>"
    "<parentpid>G</parentpid><colour>Schwarz</colour><size>M</size><instock>1</instock></product>"
    "<product><pid>P2</pid><name>Hose</name><price>19.90 GBP</price><purl>https://m.example/2</purl>"
    "<imgurl>https://m.example/4.jpg</imgurl></product></products>"
)
#: Datafeed DTD 1.5, what publishers download.
AWIN_XML = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<!DOCTYPE cafProductFeed SYSTEM "http://productdata.awin.com/DTD/affiliate/datafeed.1.5.dtd">\n'
    '<cafProductFeed><datafeed id="53075" merchantId="17697" merchantName="Mode"><prod id="301" lang="fr">'
    "<brand><brandName>Acme</brandName></brand><cat><awCatId>149</awCatId><awCat>Dresses</awCat><mCat>Robes</mCat>"
    "<merchantProductCategoryPath>Femme &gt; Robes</merchantProductCategoryPath></cat>"
    '<price curr="EUR"><buynow>49.90</buynow><delivery>4.90</delivery><rrp>69.90</rrp></price>'
    "<text><name><![CDATA[Robe & ceinture]]></name><desc>En lin</desc><promo>-20 %</promo></text>"
    "<uri><awTrack>https://www.awin1.com/pclick.php?p=301&amp;a=1&amp;m=2</awTrack><awThumb>https://t.example/1</awThumb>"
    "<mImage>https://m.example/1.jpg</mImage><alternateImage>https://m.example/2.jpg</alternateImage>"
    "<alternateImageTwo>https://m.example/3.jpg</alternateImageTwo><mLink>https://m.example/p/1</mLink></uri>"
    '<vertical id="5" name="fashion"><size>38</size></vertical><pId>A-1</pId><colour>Rouge</colour><cond>new</cond>'
    "<ean>4006381333931</ean><parentId>G1</parentId></prod>"
    '<prod id="302" in_stock="no"><price curr="GBP"><buynow>12.00</buynow></price><text><name>Scarf</name></text>'
    "<uri><awTrack>https://www.awin1.com/pclick.php?p=302</awTrack></uri><pId>A-2</pId></prod>"
    '<prod id="303"><price curr="GBP"><delivery>3.00</delivery></price><text><name>Hat</name></text><uri/><pId>A-3</pId>'
    "</prod></datafeed></cafProductFeed>"
)
#: Columns are chosen in the feed's URL, so any subset comes in any order.
AWIN_FEW_COLUMNS = (
    "merchant_product_id|product_name|search_price|currency|merchant_deep_link|merchant_image_url\n"
    "A1|Robe|12,50|EUR|https://m.example/1|https://m.example/1.jpg\n"
    "A2|Manteau|1.250,00|EUR|https://m.example/2|https://m.example/2.jpg\n"
)
#: Prices with a decimal comma or a currency beside them, the lower one asked.
AWIN_SALES = (
    "aw_product_id;product_name;search_price;rrp_price;currency;merchant_deep_link\n"
    "1;Robe;19,90;29,90;EUR;https://m.example/1\n2;Jupe;EUR19.90;EUR1,029.90;EUR;https://m.example/2\n"
    "3;Sac;29,90;19,90;EUR;https://m.example/3\n4;Gant;19,90;;EUR;https://m.example/4\n"
)
#: Shopify's template of 2025. https://help.shopify.com/manual/products/import-export/using-csv
SHOPIFY_CSV_2025 = (
    "Title,URL handle,Description,Vendor,Product category,Type,Tags,Published on online store,Status,SKU,Barcode,"
    "Option1 name,Option1 value,Option2 name,Option2 value,Price,Compare-at price,Inventory tracker,"
    "Inventory quantity,Continue selling when out of stock,Product image URL,Image position,Variant image URL\n"
    "Tee,tee,<p>Soft</p>,Acme,Apparel,Shirts,Women,TRUE,active,T-S,4006381333931,Size,S,Color,Red,19.90,29.90,shopify,5,"
    "FALSE,https://s.example/1.jpg,1,https://s.example/red.jpg\n"
    ",tee,,,,,,,,T-M,,,M,,Red,19.90,,shopify,0,TRUE,https://s.example/2.jpg,2,\n"
    ",tee,,,,,,,,T-L,,,L,,Red,21.00,,shopify,0,FALSE,,,\n"
    "Cap,cap,,Acme,Apparel,Caps,,TRUE,draft,C,,Title,Default Title,,,5.00,,,,FALSE,,,\n"
)
#: https://shopify.dev/docs/api/ajax/reference/product
SHOPIFY_JS: dict[str, Any] = {
    "id": 9, "title": "Tee", "handle": "tee", "description": "<p>Soft</p>", "vendor": "V", "type": "Shirts",
    "tags": ["a"], "price": 1999, "price_min": 1999, "price_max": 2499, "available": True, "compare_at_price": 2999,
    "compare_at_price_min": 0, "images": ["//cdn.shopify.com/1.jpg?v=3", "//cdn.shopify.com/2.jpg"],
    "featured_image": "//cdn.shopify.com/1.jpg", "options": [{"name": "Size", "position": 1, "values": ["S", "M"]}],
    "url": "/products/tee",
    "variants": [
        {"id": 91, "title": "S", "option1": "S", "sku": "a", "available": True, "price": 1999, "compare_at_price": 2999,
         "barcode": "4006381333931", "featured_image": None},
        {"id": 92, "title": "M", "option1": "M", "sku": "b", "available": False, "price": 2499, "compare_at_price": None},
    ],
}  # fmt: skip


def shopify_product(number: int, **changes: Any) -> dict[str, Any]:
    """A product of `products.json` with one variant."""
    variant = {"id": number * 10 + 1, "title": "Default Title", "option1": "Default Title", "sku": "",
               "price": "19.90", "compare_at_price": None, "available": True}  # fmt: skip
    product: dict[str, Any] = {
        "id": number, "title": f"Product {number}", "handle": f"p-{number}", "body_html": None, "vendor": "V",
        "product_type": "", "tags": [], "images": [], "options": [{"name": "Title", "position": 1}],
    }  # fmt: skip
    product["variants"] = [variant | one for one in changes.pop("variants", [{}])]
    return product | changes


#: https://woocommerce.github.io/woocommerce-rest-api-docs/#products
WOO_REST = [
    {"id": 794, "name": "Premium &amp; Tee", "permalink": "https://s.example/p", "type": "simple", "status": "publish",
     "description": "<p>Soft</p>", "sku": "SK", "price": "21.99", "regular_price": "21.99", "sale_price": "",
     "stock_status": "instock", "categories": [{"id": 9, "name": "Clothing"}, {"id": 14, "name": "T-shirts"}],
     "images": [{"src": "https://s.example/1.jpg"}, {"src": "https://s.example/2.jpg"}],
     "attributes": [{"id": 6, "name": "Color", "options": ["Black"]}, {"name": "Size", "options": ["S", "M"]}],
     "variations": [], "parent_id": 0, "global_unique_id": "4006381333931"},
    {"id": 799, "name": "Dress", "type": "variable", "status": "publish", "permalink": "https://s.example/v",
     "price": "10", "regular_price": "", "stock_status": "onbackorder", "images": [], "variations": [800, 801],
     "price_html": '<del><span class="amount"><bdi>&#36;12.00</bdi></span></del> <ins><span class="amount"><bdi>'
                   '&#36;10.00</bdi></span> &ndash; <span class="amount"><bdi>&#36;20.00</bdi></span></ins>'},
    {"id": 800, "name": "Dress - S", "type": "variation", "status": "publish", "parent_id": 799, "price": "8.00",
     "regular_price": "10.00", "sale_price": "8.00", "date_on_sale_from": "2026-01-01T00:00:00",
     "date_on_sale_to": "2026-01-31T23:59:59", "permalink": "https://s.example/v?s", "stock_status": "instock",
     "price_html": "<del>&#36;10.00</del> <ins>&#36;8.00</ins>", "images": [{"src": "https://s.example/v.jpg"}],
     "attributes": [{"name": "Size", "option": "S"}]},
    {"id": 802, "name": "Draft", "type": "simple", "status": "draft", "price": "5", "permalink": "x"},
    {"id": 803, "name": "No price", "type": "simple", "status": "publish", "price": "", "permalink": "https://s.example/n"},
]  # fmt: skip

WOO_CSV = """ID,Type,SKU,Name,Published,"Short description",Description,"Date sale price starts","Date sale price ends",\
"In stock?",Stock,"Sale price","Regular price",Categories,Images,Parent,"Attribute 1 name","Attribute 1 value(s)",\
"Attribute 2 name","Attribute 2 value(s)"
101,variation,,,1,,,,,1,3,"9,99","19,99",,https://s.example/red.jpg,id:100,Color,Rot,Größe,M
102,variation,,,1,,,,,0,,,"1.299,00",,,id:100,Color,Blau,Größe,L
103,variation,V-103,,1,,,,,backorder,,,,,,id:100,Color,,Größe,XL
100,variable,P100,Kleid,1,kurz,<p>lang</p>,,,1,,,,"Damen > Kleider, Sale","https://s.example/1.jpg, https://s.example/2.jpg",,\
Color,"Rot, Blau",Größe,"M, L, XL"
104,"simple, virtual",S1,Gift,1,,,2026-01-01,2026-02-01,1,,"5","10",Cards,https://s.example/3.jpg,,,,,
105,simple,S2,Draft,0,,,,,1,,,"10",Cards,,,,,,
107,variation,OV,,1,,,,,1,,,"12.00",,,MISSING,Color,Rot,,
108,grouped,GR,Group,1,,,,,1,,,,Cards,,,,,,
"""
#: The header of WOO_CSV as shops of other languages export it.
WOO_HEADERS = {
    "de": 'ID,Typ,Artikelnummer,Name,Veröffentlicht,Kurzbeschreibung,Beschreibung,"Datum, an dem Angebotspreis beginnt",'
          '"Datum, an dem Angebotspreis endet",Vorrätig?,Lagerbestand,Angebotspreis,"Regulärer Preis",Kategorien,Bilder,'
          '"Übergeordnetes Produkt","Attribut 1 Name","Attribut 1 Wert(e)","Attribut 2 Name","Attribut 2 Wert(e)"',
    "fr": 'ID,Type,UGS,Nom,Publié,"Description courte",Description,"Date de début de promo","Date de fin de promo",'
          '"En stock ?",Stock,"Tarif promo","Tarif régulier",Catégories,Images,Parent,"Nom de l’attribut 1",'
          '"Valeur(s) de l’attribut 1 ","Nom de l’attribut 2","Valeur(s) de l’attribut 2 "',
    "es": 'ID,Tipo,SKU,Nombre,Publicado,"Descripción corta",Descripción,"Día en que empieza el precio rebajado",'
          '"Día en que termina el precio rebajado",¿Existencias?,Inventario,"Precio rebajado","Precio normal",Categorías,'
          'Imágenes,Superior,"Nombre del atributo 1","Valor(es) del atributo 1","Nombre del atributo 2",'
          '"Valor(es) del atributo 2"',
    "it": 'ID,Tipo,COD,Nome,Pubblicato,"Breve descrizione",Descrizione,"Data di inizio del prezzo in offerta",'
          '"Data di fine del prezzo in offerta","In stock?",Magazzino,"Prezzo in offerta","Prezzo di listino",Categorie,'
          'Immagine,Genitore,"Nome dell\'attributo 1","Valore dell\'attributo 1","Nome dell\'attributo 2",'
          '"Valore dell\'attributo 2"',
    "nl": 'ID,Type,SKU,Naam,Gepubliceerd,"Korte beschrijving",Beschrijving,"Startdatum actieprijs",'
          '"Einddatum actieprijs","Op voorraad?",Voorraad,Actieprijs,"Reguliere prijs",Categorieën,Afbeeldingen,Hoofd,'
          '"Attribuut 1 naam","Attribuut 1 waarde(n)","Attribuut 2 naam","Attribuut 2 waarde(n)"',
    "da": 'ID,Type,Varenummer,Navn,Udgivet,"Kort beskrivelse",Beskrivelse,"Startdato for tilbudspris",'
          '"Slutdato for tilbudspris","På lager?",Lager,Tilbudspris,Normalpris,Kategorier,Billeder,Overordnet,'
          '"Egenskab 1 navn","Egenskab 1 værdi(er)","Egenskab 2 navn","Egenskab 2 værdi(er)"',
    "pl": 'ID,Rodzaj,SKU,Nazwa,Opublikowano,"Krótki opis",Opis,"Data rozpoczęcia promocji","Data zakończenia promocji",'
          '"W magazynie?","Stan magazynowy","Cena promocyjna","Cena regularna",Kategorie,Obrazki,Nadrzędny,'
          '"Nazwa atrybutu 1","Wartości atrybutu 1","Nazwa atrybutu 2","Wartości atrybutu 2"',
    "ja": "ID,タイプ,SKU,名前,公開済み,簡単な説明,説明,セール開始日,セール終了日,在庫あり ?,在庫,セール価格,通常価格,カテゴリー,画像,親,"
          "属性1の名前,属性1の値,属性2の名前,属性2の値",
    "ru": 'ID,Тип,Артикул,Имя,Опубликован,"Краткое описание",Описание,"Дата начала действия скидки",'
          '"Дата окончания действия скидки",Наличие,Запасы,"Акционная цена","Базовая цена",Категории,Изображения,'
          'Родительский,"Название атрибута 1","Значение(-я) аттрибута 1","Название атрибута 2","Значение(-я) аттрибута 2"',
}  # fmt: skip


def page(*blocks: object, head: str = "") -> str:
    """A product page with these JSON-LD blocks; a text is a block as it stands."""
    written = (block if isinstance(block, str) else json.dumps(block) for block in blocks)
    scripts = "".join(f"<script type='application/ld+json'>{block}</script>" for block in written)
    return f"<!doctype html><html><head><title>T</title><link rel='canonical' href='https://s.example/p'>{head}{scripts}</head></html>"


def ld_product(**changes: Any) -> dict[str, Any]:
    """A schema.org product with an offer."""
    offer = {
        "@type": "Offer",
        "price": "49.90",
        "priceCurrency": "EUR",
        "availability": "https://schema.org/InStock",
    }
    return {
        "@context": "https://schema.org", "@type": "Product", "name": "Dress", "sku": "S1",
        "image": ["https://s.example/1.jpg", "https://s.example/2.jpg"], "brand": {"@type": "Brand", "name": "B"},
        "offers": offer, **changes,
    }  # fmt: skip


#: Feeds without a mapping file of their own, and the price, sale price and currency that they say.
UNKNOWN_KINDS: dict[str, tuple[str, tuple[str, str | None, str]]] = {
    "scraped csv": (
        """url,name,sku,selling_price,original_price,currency,availability,color,category,brand,images
https://s.example/1,Shorts,FJ5089,40,60,USD,InStock,Black,Clothing,Acme,https://s.example/i.jpg~https://s.example/j.jpg
""",
        ("60", "40", "USD"),
    ),
    "french csv": (
        """reference;nom;prix;devise;url_image;url_produit;couleur;taille;disponibilite
FJ5089;Robe;49,90;EUR;https://s.example/i.jpg;https://s.example/1;Noir;38;en stock
""",
        ("49.9", None, "EUR"),
    ),
    "impact": (
        """CatalogItemId,Name,Url,ImageUrl,CurrentPrice,OriginalPrice,Currency,StockAvailability,Colors
FJ5089,Dress,https://s.example/1,https://s.example/i.jpg,40.00,50.00,USD,InStock,Black
""",
        ("50", "40", "USD"),
    ),
    "older cj": (
        """PROGRAM_NAME,SKU,NAME,PRICE,SALEPRICE,CURRENCY,BUYURL,IMAGEURL,INSTOCK,COLOR
S,FJ5089,Dress,50.00,40.00,USD,https://s.example/1,https://s.example/i.jpg,yes,black
""",
        ("50", "40", "USD"),
    ),
    "heureka xml": (
        """<SHOP><SHOPITEM><ITEM_ID>FJ5089</ITEM_ID><PRODUCTNAME>Tričko</PRODUCTNAME><URL>https://s.example/1</URL>
<IMGURL>https://s.example/i.jpg</IMGURL><PRICE_VAT>499,00</PRICE_VAT><COLOR>black</COLOR><STOCK>3</STOCK></SHOPITEM></SHOP>""",
        ("499", None, "CZK"),
    ),
    "json of an api": (
        """[{"productId":"FJ5089","productName":"B","currentPrice":12.5,"listPrice":20,"currencyCode":"EUR",
"imageUrl":"https://s.example/i.jpg","productUrl":"https://s.example/1","inStock":true,"color":"Noir"}]""",
        ("20", "12.5", "EUR"),
    ),
}
