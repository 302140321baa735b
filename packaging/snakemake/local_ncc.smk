# Judge pairs of images: include this file, and ask for results/{pair}.json.
#
#     include: "local_ncc.smk"
#     rule all:
#         input: expand("results/{pair}.json", pair=["s1", "s2"])

rule local_ncc_map:
    input:
        fixed="fixed/{pair}.tif",
        moving="moving/{pair}.tif",
    output:
        map=directory("results/{pair}.ome.zarr"),
        document="results/{pair}.json",
        report="results/{pair}.html",
    params:
        options="--register translation --radius 4 --bands ncc,confidence,shift,classes",
    threads: 4
    log:
        "logs/local_ncc/{pair}.log",
    shell:
        "local-ncc map {input.fixed} {input.moving} -o {output.map} {params.options} "
        "--threads {threads} --report {output.report} --overwrite --json "
        "> {output.document} 2> {log}"
